//! The geometry of the report's plots: maps numbers to coordinates and tick labels. The page's template draws the marks; the
//! style sheet sets colours and type.

use serde::Serialize;

use crate::publish::curves::Curve;
use crate::publish::distribution::{Bin, Distribution, Kind, round_step};
use crate::publish::format::{real, thousands};

/// Width of a plot in its own units: close to its width in pixels on a phone, so that type keeps its size.
const WIDTH: f64 = 340.0;
/// Height of a plot.
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 42.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// Maximum bins of a histogram.
const MAX_BINS: usize = 24;

/// A mark on an axis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tick {
    /// Its coordinate.
    pub at: f64,
    /// Its label.
    pub label: String,
}

/// A bar of a histogram: accepted at the bottom, others on top of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    x: f64,
    width: f64,
    accepted_y: f64,
    accepted_height: f64,
    other_y: f64,
    other_height: f64,
    range: String,
    accepted: i64,
    other: i64,
}

/// The frame of a plot and its axes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Frame {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
}

/// A histogram of two kinds, stacked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistogramPlot {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    accepted: &'static str,
    other: &'static str,
    has_other: bool,
    summary: Vec<String>,
    frame: Frame,
    bars: Vec<Bar>,
}

/// The labels of a histogram.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// Id in the page.
    pub id: &'static str,
    /// Heading.
    pub title: &'static str,
    /// What the horizontal axis measures.
    pub unit: &'static str,
    /// Name of the first kind.
    pub accepted: &'static str,
    /// Name of the second kind.
    pub other: &'static str,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinePlot {
    id: String,
    title: String,
    metric: String,
    summary: String,
    frame: Frame,
    points: String,
    rows: Vec<(String, String)>,
}

/// Creates the histogram of a distribution; `None` if it is empty.
pub fn histogram(labels: Labels, distribution: &Distribution) -> Option<HistogramPlot> {
    let bins = distribution.bins(MAX_BINS);
    let (first, last) = (bins.first()?, bins.last()?);
    let highest = bins.iter().map(|bin| bin.counts[0] + bin.counts[1]).max()?;
    let (low, high) = (first.low, last.high);
    let y_ticks = count_ticks(highest);
    let top_count = y_ticks.last().map_or(1.0, |tick| tick.0);
    let x = |value: f64| LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let y = |count: f64| HEIGHT - BOTTOM - count / top_count * (HEIGHT - BOTTOM - TOP);
    let gap = if bins.len() > 1 { 1.0 } else { 0.0 };
    let whole = distribution.is_whole();
    let bar = |bin: &Bin| {
        let [accepted, other] = bin.counts;
        let (accepted_y, other_y) = (y(accepted as f64), y((accepted + other) as f64));
        Bar {
            x: round(x(bin.low) + gap / 2.0),
            width: round(x(bin.high) - x(bin.low) - gap),
            accepted_y: round(accepted_y),
            accepted_height: round(HEIGHT - BOTTOM - accepted_y),
            other_y: round(other_y),
            other_height: round(accepted_y - other_y),
            range: range_label(bin, whole),
            accepted,
            other,
        }
    };
    // A bin of one whole number is labelled in its middle, any other at its border.
    let single = whole && bins[0].high - bins[0].low == 1.0;
    let shift = if single { 0.5 } else { 0.0 };
    let x_ticks = value_ticks(low, if single { high - 1.0 } else { high }, 5, whole);
    Some(HistogramPlot {
        id: labels.id,
        title: labels.title,
        unit: labels.unit,
        accepted: labels.accepted,
        other: labels.other,
        has_other: distribution.count(Kind::Other) > 0,
        summary: summary(&labels, distribution),
        frame: frame(
            x_ticks
                .into_iter()
                .map(|(value, label)| Tick {
                    at: round(x(value + shift)),
                    label,
                })
                .collect(),
            y_ticks
                .into_iter()
                .map(|(count, label)| Tick {
                    at: round(y(count)),
                    label,
                })
                .collect(),
        ),
        bars: bins.iter().map(bar).collect(),
    })
}

/// Creates the plot of a training curve; `None` if it has fewer than two points.
pub fn line(curve: &Curve) -> Option<LinePlot> {
    let (first, last) = (curve.points.first()?, curve.points.last()?);
    if curve.points.len() < 2 {
        return None;
    }
    let values = || curve.points.iter().map(|point| point.1);
    let (least, greatest) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    );
    let margin = if greatest > least {
        0.08 * (greatest - least)
    } else {
        0.5
    };
    let (low, high) = (least - margin, greatest + margin);
    let x =
        |step: f64| LEFT + (step - first.0) / (last.0 - first.0).max(1.0) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP);
    let points: Vec<_> = curve
        .points
        .iter()
        .map(|(step, value)| format!("{},{}", round(x(*step)), round(y(*value))))
        .collect();
    let title = match &curve.generator {
        Some(generator) => format!("{} of {generator}", curve.stage.slug().to_uppercase()),
        None => curve.stage.slug().to_uppercase(),
    };
    Some(LinePlot {
        id: format!(
            "curve-{}-{}-{}",
            curve.stage.slug(),
            curve.generator.as_deref().unwrap_or("all"),
            curve.metric
        ),
        title,
        metric: curve.metric.clone(),
        summary: format!(
            "from {} to {} in {} steps",
            real(first.1),
            real(last.1),
            thousands(last.0 as i64)
        ),
        frame: frame(
            value_ticks(first.0, last.0, 5, true)
                .into_iter()
                .map(|(step, label)| Tick {
                    at: round(x(step)),
                    label,
                })
                .collect(),
            value_ticks(low, high, 4, false)
                .into_iter()
                .map(|(value, label)| Tick {
                    at: round(y(value)),
                    label,
                })
                .collect(),
        ),
        points: points.join(" "),
        rows: curve
            .points
            .iter()
            .map(|(step, value)| (thousands(*step as i64), real(*value)))
            .collect(),
    })
}

fn frame(x_ticks: Vec<Tick>, y_ticks: Vec<Tick>) -> Frame {
    Frame {
        width: WIDTH,
        height: HEIGHT,
        left: LEFT,
        right: WIDTH - RIGHT,
        top: TOP,
        bottom: HEIGHT - BOTTOM,
        x_ticks,
        y_ticks,
    }
}

/// Returns ticks from 0 to a round number that is at least `highest`.
fn count_ticks(highest: i64) -> Vec<(f64, String)> {
    let step = round_step(highest as f64 / 4.0).max(1.0).ceil();
    let last = (highest as f64 / step).ceil().max(1.0) as i64;
    (0..=last)
        .map(|i| i as f64 * step)
        .map(|count| (count, thousands(count as i64)))
        .collect()
}

/// Returns about `most` round values between `low` and `high`.
fn value_ticks(low: f64, high: f64, most: usize, whole: bool) -> Vec<(f64, String)> {
    let step = round_step((high - low) / most as f64).max(if whole { 1.0 } else { 0.0 });
    if step == 0.0 {
        return vec![(low, real(low))];
    }
    let step = if whole { step.ceil() } else { step };
    let first = (low / step - 1e-9).ceil();
    (0..)
        .map(|i| (first + f64::from(i)) * step)
        .take_while(|value| *value <= high + step * 1e-6)
        .map(|value| (value, real(value)))
        .collect()
}

fn range_label(bin: &Bin, whole: bool) -> String {
    match (whole, bin.high - bin.low == 1.0) {
        (true, true) => real(bin.low),
        (true, false) => format!("{} to {}", real(bin.low), real(bin.high - 1.0)),
        (false, _) => format!("{} to {}", real(bin.low), real(bin.high)),
    }
}

fn summary(labels: &Labels, distribution: &Distribution) -> Vec<String> {
    let of = |kind: Kind, name: &str| {
        let (median, mean) = (distribution.median(kind)?, distribution.mean(kind)?);
        Some(format!(
            "{} {name}: median {}, mean {}",
            thousands(distribution.count(kind)),
            real(median),
            real(mean)
        ))
    };
    [
        of(Kind::Accepted, labels.accepted),
        of(Kind::Other, labels.other),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scalequest_crds::v1alpha1::Stage;

    use super::*;

    const LABELS: Labels = Labels {
        id: "reward",
        title: "Reward",
        unit: "reward",
        accepted: "chosen",
        other: "other",
    };

    #[test]
    fn empty_distribution_has_no_plot() {
        assert_eq!(histogram(LABELS, &Distribution::real()), None);
    }

    #[test]
    fn curve_spans_the_frame() {
        let curve = Curve {
            stage: Stage::Qft,
            generator: None,
            metric: "loss".into(),
            points: vec![(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)],
        };
        let plot = line(&curve).unwrap();
        assert!(
            plot.points.starts_with("42,") && plot.points.contains(" 330,"),
            "{}",
            plot.points
        );
        assert_eq!(plot.summary, "from 3 to 1 in 3 steps");
    }

    proptest! {
        #[test]
        fn bars_fit_the_frame_and_count_everything(values in prop::collection::vec((-50f64..5000.0, any::<bool>()), 1..200), whole in any::<bool>()) {
            let mut distribution = if whole { Distribution::whole() } else { Distribution::real() };
            for (value, accepted) in &values {
                let value = if whole { value.trunc() } else { *value };
                distribution.record(value, if *accepted { Kind::Accepted } else { Kind::Other });
            }
            let plot = histogram(LABELS, &distribution).unwrap();
            prop_assert_eq!(plot.bars.iter().map(|bar| bar.accepted + bar.other).sum::<i64>(), values.len() as i64);
            for bar in &plot.bars {
                prop_assert!(bar.x >= LEFT && bar.x + bar.width <= WIDTH - RIGHT + 0.1, "{:?}", bar);
                prop_assert!(bar.other_y >= TOP - 0.1 && bar.accepted_height >= 0.0 && bar.other_height >= 0.0, "{:?}", bar);
            }
            for tick in plot.frame.x_ticks.iter() {
                prop_assert!(tick.at >= LEFT - 0.1 && tick.at <= WIDTH - RIGHT + 0.1, "{:?}", tick);
            }
        }
    }
}
