//! Plots as SVG, by hand: bars and lines are all that is needed. Colours follow the reader's light or dark scheme.

use std::fmt::Write as _;

use super::figures::shown;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 26.0;

const STYLE: &str = "<style>
text { font: 13px system-ui, sans-serif; fill: #24292f; } .title { font-weight: 600; font-size: 15px; }
.quiet { fill: #57606a; } .grid { stroke: #d0d7de; stroke-width: 1; }
.c0 { fill: #1f6feb; stroke: #1f6feb; } .c1 { fill: #bc4c00; stroke: #bc4c00; } .c2 { fill: #8250df; stroke: #8250df; }
.c3 { fill: #1a7f37; stroke: #1a7f37; } .line { fill: none; stroke-width: 2; } .dot { stroke: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .quiet { fill: #9198a1; } .grid { stroke: #3d444d; }
  .c0 { fill: #4493f8; stroke: #4493f8; } .c1 { fill: #f0883e; stroke: #f0883e; } .c2 { fill: #ab7df8; stroke: #ab7df8; }
  .c3 { fill: #3fb950; stroke: #3fb950; }
}
</style>";

/// Horizontal bars: a group for each label, a bar for each series in it.
pub struct Bars<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    pub series: &'a [&'a str],
    /// Label, and a value for each series; `None` leaves a bar out.
    pub groups: Vec<(String, Vec<Option<f64>>)>,
}

impl Bars<'_> {
    pub fn svg(&self) -> String {
        let most = self
            .groups
            .iter()
            .flat_map(|(_, values)| values.iter().flatten())
            .fold(0.0_f64, |most, value| most.max(*value));
        let scale = if most > 0.0 {
            (WIDTH - LEFT - RIGHT) / most
        } else {
            0.0
        };
        let mut body = String::new();
        let mut y = 70.0;
        for (label, values) in &self.groups {
            for (place, value) in values.iter().enumerate() {
                let Some(value) = value else { continue };
                let length = (value * scale).max(1.0);
                let name = self.series.get(place).copied().unwrap_or_default();
                let text_y = y + 13.0;
                let _ = write!(
                    body,
                    "<text x='{x}' y='{text_y}' text-anchor='end'>{label}</text>\
                     <rect class='c{colour}' x='{LEFT}' y='{y}' width='{length:.1}' height='18' rx='2'><title>{name}: {shown} {unit}</title></rect>\
                     <text x='{end:.1}' y='{text_y}'>{shown}</text>",
                    x = LEFT - 10.0,
                    label = if self.series.len() > 1 && place > 0 {
                        ""
                    } else {
                        label
                    },
                    colour = place % 4,
                    shown = shown(*value),
                    unit = self.unit,
                    end = LEFT + length + 8.0,
                );
                y += ROW;
            }
            y += 10.0;
        }
        let mut legend = String::new();
        if self.series.len() > 1 {
            let mut x = LEFT;
            for (place, name) in self.series.iter().enumerate() {
                let _ = write!(
                    legend,
                    "<rect class='c{place}' x='{x}' y='44' width='12' height='12' rx='2'/><text x='{}' y='55'>{name}</text>",
                    x + 18.0
                );
                x += 40.0 + 8.0 * name.len() as f64;
            }
        }
        page(y + 4.0, self.title, self.unit, &(legend + &body))
    }
}

/// Lines over a number that doubles from point to point.
pub struct Lines<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    pub x_label: &'a str,
    pub xs: Vec<String>,
    pub series: Vec<(&'a str, Vec<Option<f64>>)>,
}

impl Lines<'_> {
    pub fn svg(&self) -> String {
        const TOP: f64 = 76.0;
        const HEIGHT: f64 = 220.0;
        let most = self
            .series
            .iter()
            .flat_map(|(_, values)| values.iter().flatten())
            .fold(0.0_f64, |most, value| most.max(*value));
        let most = if most > 0.0 { most * 1.1 } else { 1.0 };
        let step = (WIDTH - LEFT - RIGHT) / (self.xs.len().max(2) - 1) as f64;
        let x_of = |place: usize| LEFT + step * place as f64;
        let y_of = |value: f64| TOP + HEIGHT * (1.0 - value / most);
        let mut body = String::new();
        for quarter in 0..=4 {
            let value = most * f64::from(quarter) / 4.0;
            let y = y_of(value);
            let _ = write!(
                body,
                "<line class='grid' x1='{LEFT}' x2='{}' y1='{y:.1}' y2='{y:.1}'/>\
                 <text class='quiet' x='{}' y='{:.1}' text-anchor='end'>{}</text>",
                WIDTH - RIGHT,
                LEFT - 10.0,
                y + 4.0,
                shown(value)
            );
        }
        for (place, x) in self.xs.iter().enumerate() {
            let _ = write!(
                body,
                "<text class='quiet' x='{:.1}' y='{}' text-anchor='middle'>{x}</text>",
                x_of(place),
                TOP + HEIGHT + 20.0
            );
        }
        let _ = write!(
            body,
            "<text class='quiet' x='{}' y='{}' text-anchor='middle'>{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            TOP + HEIGHT + 42.0,
            self.x_label
        );
        let mut legend_x = LEFT;
        for (place, (name, values)) in self.series.iter().enumerate() {
            let colour = place % 4;
            let points: Vec<(f64, f64)> = values
                .iter()
                .enumerate()
                .filter_map(|(place, value)| Some((x_of(place), y_of((*value)?))))
                .collect();
            let path: Vec<String> = points
                .iter()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let _ = write!(
                body,
                "<polyline class='line c{colour}' style='fill:none' points='{}'/>",
                path.join(" ")
            );
            for (x, y) in points {
                let _ = write!(
                    body,
                    "<circle class='c{colour} dot' cx='{x:.1}' cy='{y:.1}' r='3.5'/>"
                );
            }
            let _ = write!(
                body,
                "<rect class='c{colour}' x='{legend_x}' y='44' width='12' height='12' rx='2'/><text x='{}' y='55'>{name}</text>",
                legend_x + 18.0
            );
            legend_x += 40.0 + 8.0 * name.len() as f64;
        }
        page(TOP + HEIGHT + 56.0, self.title, self.unit, &body)
    }
}

fn page(height: f64, title: &str, unit: &str, body: &str) -> String {
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}' role='img' \
         aria-label='{title}, in {unit}'>{STYLE}<text class='title' x='16' y='26'>{title}</text>\
         <text class='quiet' x='{x}' y='26' text-anchor='end'>{unit}</text>{body}</svg>\n",
        x = WIDTH - 16.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bar_with_its_figure() {
        let svg = Bars {
            title: "t",
            unit: "ms",
            series: &["a", "b"],
            groups: vec![
                ("one".to_owned(), vec![Some(1.0), None]),
                ("two".to_owned(), vec![Some(2.0), Some(4.0)]),
            ],
        }
        .svg();
        assert_eq!(svg.matches("<rect class='c").count(), 2 + 3);
        assert!(
            svg.contains("a: 1.00 ms") && svg.contains("b: 4.00 ms"),
            "{svg}"
        );
    }

    #[test]
    fn nothing_to_show_is_no_division_by_zero() {
        let empty = Lines {
            title: "t",
            unit: "u",
            x_label: "x",
            xs: Vec::new(),
            series: Vec::new(),
        }
        .svg();
        assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
    }
}
