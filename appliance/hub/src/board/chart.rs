//! Charts over weeks: SVG made here, with the same numbers as a table below, for who cannot see it and for who copies them.

use super::pieces::{between, duration, monday, nothing};
use crate::figures::Estimate;
use maud::{Markup, html};
use std::fmt::Write as _;

/// The drawing's own units.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 470.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 170.0;
/// Lines across, with their numbers.
const TICKS: usize = 4;

/// What the numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Shares of one.
    Percent,
    /// Counts.
    Count,
    /// Distances between 0 and 1.
    Distance,
    /// Durations, milliseconds, each known by the ends of its bucket.
    Millis,
}

/// One week of a chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) week: u16,
    /// Nothing where too few stand behind it.
    pub(super) value: Option<Estimate>,
    /// The alarm threshold of this very week.
    pub(super) limit: Option<f64>,
}

impl Point {
    /// One that is exact.
    pub(super) fn exact(week: u16, value: f64) -> Self {
        let value = Some(Estimate {
            value,
            low: value,
            high: value,
        });
        Self {
            week,
            value,
            limit: None,
        }
    }

    fn is_beyond(&self) -> bool {
        let value = self.value.zip(self.limit);
        value.is_some_and(|(value, limit)| value.value > limit)
    }
}

/// A chart.
pub(super) struct Chart<'c> {
    /// Of the page's own, for what refers to it.
    pub(super) id: &'c str,
    pub(super) title: &'c str,
    /// What it shows, in a sentence.
    pub(super) what: &'c str,
    pub(super) unit: Unit,
    pub(super) points: Vec<Point>,
}

impl Chart<'_> {
    pub(super) fn draw(&self) -> Markup {
        let told = self.points.iter().any(|point| point.value.is_some());
        html! {
            figure.sheet.chart {
                h2 #(self.id) { (self.title) }
                @if told { (self.picture()) } @else { (nothing("Too few stand behind it in any week.")) }
                figcaption.quiet.small { (self.what) }
                @if told { (self.numbers()) }
            }
        }
    }

    fn picture(&self) -> Markup {
        let scale = Scale::of(&self.points, self.unit);
        let limits = self.points.iter().any(|point| point.limit.is_some());
        html! {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-labelledby=(self.id) {
                @for tick in 0..=TICKS {
                    @let value = scale.max * tick as f64 / TICKS as f64;
                    @let y = scale.y(value);
                    line.grid x1=(LEFT) x2=(RIGHT) y1=(y) y2=(y) {}
                    text.axis x=(LEFT - 6.0) y=(y + 4.0) text-anchor="end" { (self.said(value)) }
                }
                @for (at, anchor) in [(0, "start"), (self.points.len() / 2, "middle"), (self.points.len() - 1, "end")] {
                    @if at > 0 || anchor == "start" {
                        text.axis x=(scale.x(self.points[at].week)) y=(BOTTOM + 18.0) text-anchor=(anchor) {
                            (monday(self.points[at].week))
                        }
                    }
                }
                @for run in self.runs() {
                    polygon.band points=(scale.band(&run)) {}
                    polyline.line points=(scale.line(&run)) {}
                }
                @if limits { polyline.limit points=(scale.limits(&self.points)) {} }
                @for point in &self.points { (scale.dot(point)) }
            }
            @if limits {
                p.key.small { span.swatch { "━ value" } " " span.swatch.limit { "┅ alarm threshold" } " ■ beyond it" }
            }
        }
    }

    /// Weeks one after the other that are told of: a gap is no line.
    fn runs(&self) -> Vec<Vec<(u16, Estimate)>> {
        let mut runs: Vec<Vec<(u16, Estimate)>> = vec![Vec::new()];
        for point in &self.points {
            match (point.value, runs.last_mut()) {
                (Some(value), Some(run)) => run.push((point.week, value)),
                _ => runs.push(Vec::new()),
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }

    fn numbers(&self) -> Markup {
        let limits = self.points.iter().any(|point| point.limit.is_some());
        html! {
            details {
                summary { "The numbers" span.unseen { " of " (self.title) } }
                table.stack {
                    thead { tr {
                        th scope="col" { "Week of" } th scope="col" { "Value" @if self.unit == Unit::Distance { " (95 % interval)" } }
                        @if limits { th scope="col" { "Alarm at" } }
                    } }
                    tbody { @for point in &self.points { tr {
                        td data-name="Week of" { (monday(point.week)) }
                        td.number data-name="Value" { (self.value(point.value)) }
                        @if limits { td.number data-name="Alarm at" {
                            @match point.limit { Some(limit) => (self.said(limit)), None => "–" }
                            @if point.is_beyond() { " beyond" }
                        } }
                    } } }
                }
            }
        }
    }

    fn value(&self, value: Option<Estimate>) -> String {
        match value {
            None => "left out".to_owned(),
            Some(v) if v.low == v.high => self.said(v.value),
            Some(v) if self.unit == Unit::Millis => {
                between(v.low as u64, v.high.is_finite().then_some(v.high as u64))
            }
            Some(v) => format!(
                "{} ({} to {})",
                self.said(v.value),
                self.said(v.low),
                self.said(v.high)
            ),
        }
    }

    fn said(&self, value: f64) -> String {
        match self.unit {
            Unit::Percent => format!("{:.1} %", 100.0 * value),
            Unit::Count => super::pieces::thousands(value.round() as u64),
            Unit::Distance => format!("{value:.3}"),
            Unit::Millis => duration(value.round() as u64),
        }
    }
}

/// Where numbers stand in the drawing.
struct Scale {
    first: u16,
    last: u16,
    max: f64,
}

impl Scale {
    fn of(points: &[Point], unit: Unit) -> Self {
        let weeks = || points.iter().map(|point| point.week);
        let highs = points.iter().filter_map(|point| {
            let Estimate { value, high, .. } = point.value?;
            Some(if high.is_finite() { high } else { value })
        });
        let limits = points.iter().filter_map(|point| point.limit);
        let max = highs.chain(limits).fold(0.0, f64::max);
        let whole = match unit {
            Unit::Percent | Unit::Distance if max > 0.5 => 1.0,
            _ => round_up(max),
        };
        Self {
            first: weeks().min().unwrap_or(0),
            last: weeks().max().unwrap_or(0),
            max: whole,
        }
    }

    fn x(&self, week: u16) -> f64 {
        let weeks = f64::from(self.last - self.first).max(1.0);
        tenth(LEFT + (RIGHT - LEFT) * f64::from(week - self.first) / weeks)
    }

    fn y(&self, value: f64) -> f64 {
        tenth(BOTTOM - (BOTTOM - TOP) * (value / self.max).clamp(0.0, 1.0))
    }

    fn line(&self, run: &[(u16, Estimate)]) -> String {
        self.places(run.iter().map(|(week, value)| (*week, value.value)))
    }

    fn band(&self, run: &[(u16, Estimate)]) -> String {
        let over = run.iter().map(|(week, value)| (*week, value.high));
        let under = run.iter().rev().map(|(week, value)| (*week, value.low));
        self.places(over.chain(under))
    }

    fn limits(&self, points: &[Point]) -> String {
        self.places(
            points
                .iter()
                .filter_map(|point| Some((point.week, point.limit?))),
        )
    }

    fn places(&self, places: impl Iterator<Item = (u16, f64)>) -> String {
        let mut text = String::new();
        for (week, value) in places {
            let _ = write!(text, "{},{} ", self.x(week), self.y(value)); // a text takes everything
        }
        text
    }

    /// A point of its own: round, or square and larger where it is beyond its threshold.
    fn dot(&self, point: &Point) -> Markup {
        html! { @if let Some(value) = point.value {
            @let (x, y) = (self.x(point.week), self.y(value.value));
            @if point.is_beyond() {
                rect.beyond x=(tenth(x - 4.5)) y=(tenth(y - 4.5)) width="9" height="9" {}
            } @else {
                circle.dot cx=(x) cy=(y) r="2.5" {}
            }
        } }
    }
}

/// The next round number above: 1, 2 or 5 of its power of ten.
fn round_up(max: f64) -> f64 {
    if max <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(max.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= max).unwrap_or(max)
}

fn tenth(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::pieces::bucket_estimate;
    use super::*;

    fn chart(points: Vec<Point>) -> String {
        let (id, title, what) = ("a", "Drift", "How far.");
        let unit = Unit::Distance;
        Chart {
            id,
            title,
            what,
            unit,
            points,
        }
        .draw()
        .into_string()
    }

    #[test]
    fn a_gap_is_no_line_and_what_is_beyond_is_marked_without_colour() {
        let mut points: Vec<Point> = (2900..2906).map(|week| Point::exact(week, 0.1)).collect();
        points[2].value = None;
        points[5].limit = Some(0.05);
        let drawn = chart(points);
        assert_eq!(drawn.matches("<polyline class=\"line\"").count(), 2);
        assert_eq!(drawn.matches("class=\"beyond\"").count(), 1);
        assert!(drawn.contains("left out") && drawn.contains(" beyond"));
        assert_eq!(
            drawn.matches("Value (95 % interval)").count(),
            1,
            "above the numbers"
        );
        assert!(
            !drawn.contains("style="),
            "the policy of the page forbids it"
        );
    }

    #[test]
    fn a_distance_stands_with_its_interval_and_a_duration_with_its_ends() {
        let far = Estimate {
            value: 0.1,
            low: 0.04,
            high: 0.16,
        };
        let point = |value| Point {
            week: 2900,
            value: Some(value),
            limit: Some(0.12),
        };
        let drawn = chart(vec![point(far)]);
        assert!(drawn.contains("0.100 (0.040 to 0.160)"), "{drawn}");
        assert!(
            !drawn.contains(" beyond\""),
            "the value counts, not the end"
        );
        let durations = Chart {
            id: "a",
            title: "Durations",
            what: "How long.",
            unit: Unit::Millis,
            points: [10, 24]
                .map(|number| point(bucket_estimate(number).expect("told")))
                .to_vec(),
        };
        let drawn = durations.draw().into_string();
        assert!(drawn.contains("256 ms to 512 ms"), "{drawn}");
        assert!(drawn.contains("more than 70 min"), "{drawn}");
        assert!(!drawn.contains("inf") && !drawn.contains("NaN"), "{drawn}");
    }

    #[test]
    fn nothing_to_show_is_said() {
        let point = Point {
            week: 2900,
            value: None,
            limit: None,
        };
        assert!(chart(vec![point]).contains("Too few"));
        assert!(chart(Vec::new()).contains("Too few"));
        assert!(chart(vec![Point::exact(2900, 0.0)]).contains("<svg"));
    }

    #[test]
    fn scales_end_at_round_numbers() {
        for (max, end) in [
            (0.0, 1.0),
            (7.0, 10.0),
            (0.013, 0.02),
            (1999.0, 2000.0),
            (2.0, 2.0),
        ] {
            assert!((round_up(max) - end).abs() < 1e-9, "{max}");
        }
    }
}
