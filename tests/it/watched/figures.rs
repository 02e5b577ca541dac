//! Which figures a replica exports, and which ones an expression asks for.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};

/// What Prometheus adds to each series of a scrape: itself, and by deploy/prometheus/kubernetes.yml.
const OF_THE_SCRAPE: [&str; 3] = ["job", "instance", "namespace"];

/// How the names of our figures begin; the second is that of figures which all programs have.
pub const OURS: [&str; 2] = ["pgchat_", "process_"];

/// Grafana's placeholders, and something that may stand there.
const PLACEHOLDERS: [(&str, &str); 2] = [("$__rate_interval", "1m"), ("$__range", "1h")];

type Labels = BTreeMap<String, String>;

/// The series of one scrape, by their names; with those that Prometheus makes of it.
pub struct Exported(BTreeMap<String, Vec<Labels>>);

impl Exported {
    pub fn of(text: &str) -> Self {
        let mut series: BTreeMap<String, Vec<Labels>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (sample, _) = line.rsplit_once(' ').expect("a value");
            // A sample without its value is a selector of PromQL.
            let Ok(Expr::VectorSelector(sample)) = parser::parse(sample) else {
                panic!("{line}");
            };
            let labels = sample.matchers.matchers.into_iter();
            let name = sample.name.expect("a name");
            series
                .entry(name)
                .or_default()
                .push(labels.map(|label| (label.name, label.value)).collect());
        }
        assert!(!series.is_empty(), "{text}");
        series.insert("up".to_owned(), vec![Labels::new()]);
        Self(series)
    }

    /// Our metrics; a histogram is one.
    pub fn families(&self) -> BTreeSet<String> {
        let is_ours = |name: &&String| OURS.iter().any(|ours| name.starts_with(ours));
        let ours = self.0.keys().filter(is_ours);
        ours.map(|name| self.family(name)).collect()
    }

    fn family(&self, name: &str) -> String {
        let parts = ["_bucket", "_sum", "_count"];
        let histogram = parts.iter().find_map(|part| name.strip_suffix(part));
        histogram
            .filter(|family| self.0.contains_key(&format!("{family}_bucket")))
            .unwrap_or(name)
            .to_owned()
    }

    /// The labels of one of [`Exported::families`], without the bounds of a histogram.
    pub fn labels(&self, family: &str) -> BTreeSet<String> {
        let parts = [family.to_owned(), format!("{family}_count")];
        let series = parts.iter().filter_map(|name| self.0.get(name)).flatten();
        series.flat_map(|labels| labels.keys().cloned()).collect()
    }

    fn has_label(&self, name: &str, label: &str) -> bool {
        let of_it = self.0.get(name).into_iter().flatten();
        OF_THE_SCRAPE.contains(&label) || of_it.into_iter().any(|labels| labels.contains_key(label))
    }
}

/// What expressions ask for, and what of it is not there.
#[derive(Default)]
pub struct Used {
    pub expressions: usize,
    pub families: BTreeSet<String>,
    pub faults: Vec<String>,
}

impl Used {
    pub fn check(&mut self, expression: &str, exported: &Exported) {
        let mut promql = expression.to_owned();
        for (placeholder, value) in PLACEHOLDERS {
            promql = promql.replace(placeholder, value);
        }
        self.expressions += 1;
        match parser::parse(&promql) {
            Ok(parsed) => self.walk(&parsed, exported),
            Err(fault) => self
                .faults
                .push(format!("is no PromQL: {expression}: {fault}")),
        }
    }

    fn walk(&mut self, expression: &Expr, exported: &Exported) {
        for selector in selectors(expression) {
            self.select(&selector, exported);
        }
        let mut grouped = Groupings::default();
        let _ = walk_expr(&mut grouped, expression);
        for (inner, labels) in grouped.0 {
            for selector in inner.iter().flat_map(selectors) {
                let name = selector.name.unwrap_or_default();
                for label in labels
                    .iter()
                    .filter(|label| !exported.has_label(&name, label))
                {
                    self.faults.push(format!("{name} has no label {label}"));
                }
            }
        }
    }

    fn select(&mut self, selector: &VectorSelector, exported: &Exported) {
        let Some(name) = &selector.name else {
            return self.faults.push(format!("names no metric: {selector}"));
        };
        let Some(series) = exported.0.get(name) else {
            return self.faults.push(format!("{name} is not exported"));
        };
        self.families.insert(exported.family(name));
        let alternatives = selector.matchers.or_matchers.iter().flatten();
        let asked = selector.matchers.matchers.iter().chain(alternatives);
        for Matcher {
            op,
            name: label,
            value,
        } in asked
        {
            if !exported.has_label(name, label) {
                self.faults.push(format!("{name} has no label {label}"));
            } else if matches!(op, MatchOp::Equal)
                && !OF_THE_SCRAPE.contains(&label.as_str())
                && series.iter().all(|labels| labels.get(label) != Some(value))
            {
                // Patterns are for what traffic may bring or not, such as a status of 5xx.
                let fault = format!("no series of {name} has {label}=\"{value}\"");
                self.faults.push(fault);
            }
        }
    }

    /// `label_values(METRIC, LABEL)`.
    pub fn check_variable(&mut self, query: &str, exported: &Exported) {
        let inner = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        let (metric, label) = inner.and_then(|inner| inner.split_once(", ")).expect(query);
        self.check(metric, exported);
        if !exported.has_label(metric, label) {
            self.faults.push(format!("{metric} has no label {label}"));
        }
    }

    /// `{{label}}` of a legend, `{{ $labels.label }}` of an alert: some figure has it.
    pub fn check_labels_named_in(&mut self, template: &str, exported: &Exported) {
        for part in template.split("{{").skip(1) {
            let named = part.split("}}").next().unwrap_or_default().trim();
            let named = named.strip_prefix("$labels.").unwrap_or(named);
            let known = exported
                .0
                .keys()
                .any(|name| exported.has_label(name, named));
            if !known && !named.starts_with("$value") {
                self.faults
                    .push(format!("no figure has the label {named} of {template:?}"));
            }
        }
    }
}

fn selectors(expression: &Expr) -> Vec<VectorSelector> {
    let mut found = Selectors::default();
    let _ = walk_expr(&mut found, expression);
    found.0
}

#[derive(Default)]
struct Selectors(Vec<VectorSelector>);

impl ExprVisitor for Selectors {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        match expression {
            Expr::VectorSelector(selector) => self.0.push(selector.clone()),
            Expr::MatrixSelector(matrix) => self.0.push(matrix.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}

/// Labels by which something is grouped or joined, with what they must be labels of.
#[derive(Default)]
struct Groupings(Vec<(Vec<Expr>, Vec<String>)>);

impl ExprVisitor for Groupings {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        let mut named = |inner: Vec<Expr>, modifier: &Option<LabelModifier>| {
            if let Some(modifier) = modifier {
                self.0.push((inner, modifier.labels().labels.clone()));
            }
        };
        match expression {
            Expr::Aggregate(sum) => named(vec![(*sum.expr).clone()], &sum.modifier),
            Expr::Binary(both) => {
                if let Some(modifier) = &both.modifier {
                    let sides = vec![(*both.lhs).clone(), (*both.rhs).clone()];
                    named(sides, &modifier.matching);
                }
            }
            _ => {}
        }
        Ok(true)
    }
}
