//! How figures are written that are read at a scrape.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

/// What tells one series of a figure from another: the names of its labels, and their values.
type Labels<'a, const N: usize> = [(&'a str, &'a str); N];

/// Where they are written to.
pub(super) struct Figures<'a>(pub DescriptorEncoder<'a>);

impl Figures<'_> {
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.figure(name, help, None, &ConstGauge::new(value))
    }

    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.figure(name, help, None, &ConstCounter::new(value))
    }

    pub fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: &Histogram,
    ) -> fmt::Result {
        self.figure(name, help, unit, values)
    }

    pub fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l, N>, usize)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            ConstGauge::new(value as f64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l, N>, &'l AtomicU64)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in series {
            ConstCounter::new(read(count)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub fn histograms<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (Labels<'l, N>, &'l Histogram)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (labels, values) in series {
            values.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn figure(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        figure: &impl EncodeMetric,
    ) -> fmt::Result {
        let kind = figure.metric_type();
        figure.encode(self.0.encode_descriptor(name, help, unit, kind)?)
    }
}

pub(super) fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
