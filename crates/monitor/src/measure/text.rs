//! The text formats of Prometheus: version 0.0.4, and OpenMetrics 1.0.

use std::fmt::Write as _;

use super::family::{Family, Kind};
use super::points::{Data, Point};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header asks for; of two that are as welcome, and where nothing is said, Prometheus's own.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        let (mut open, mut plain) = (0.0f32, 0.0f32);
        for part in accept.unwrap_or("*/*").split(',') {
            let mut parameters = part.split(';').map(str::trim);
            let kind = parameters.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parameters.find_map(|one| one.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
            let weight: f32 = weight.unwrap_or(0.0);
            match kind.as_str() {
                "application/openmetrics-text" => open = open.max(weight),
                "text/plain" | "text/*" | "*/*" => plain = plain.max(weight),
                _ => {}
            }
        }
        if open > plain { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The points as text. They are in the order of their families, as [`points`](super::points()) gives them.
#[must_use]
pub fn render(points: &[Point], format: Format) -> String {
    let mut text = String::with_capacity(points.len().saturating_mul(160));
    let mut before: Option<&Family> = None;
    for point in points {
        if before != Some(point.family) {
            head(&mut text, point.family, format);
            before = Some(point.family);
        }
        write_point(&mut text, point);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn head(text: &mut String, family: &Family, format: Format) {
    let name = match (format, family.kind) {
        // There, the family is called without what its samples' names end in.
        (Format::OpenMetrics, Kind::Counter) => family.name.strip_suffix("_total").unwrap_or(family.name),
        _ => family.name,
    };
    let _ = writeln!(text, "# HELP {name} {}", family.help.replace('\\', "\\\\"));
    let _ = writeln!(text, "# TYPE {name} {}", family.kind.as_str());
}

fn write_point(text: &mut String, point: &Point) {
    let name = point.family.name;
    match &point.data {
        Data::Count(count) => line(text, name, "", &point.labels, None, &count.to_string()),
        Data::Value(value) => line(text, name, "", &point.labels, None, &number(*value)),
        Data::Hist { bounds, hist } => {
            let mut sum = 0u64;
            let uppers = bounds.iter().map(|bound| number(units(*bound))).chain(["+Inf".to_owned()]);
            for (upper, count) in uppers.zip(&hist.buckets) {
                sum = sum.saturating_add(*count);
                line(text, name, "_bucket", &point.labels, Some(&upper), &sum.to_string());
            }
            line(text, name, "_sum", &point.labels, None, &number(units(hist.sum_millionths)));
            line(text, name, "_count", &point.labels, None, &sum.to_string());
        }
    }
}

fn line(text: &mut String, name: &str, ending: &str, labels: &[(&str, String)], upper: Option<&str>, value: &str) {
    text.push_str(name);
    text.push_str(ending);
    let labels = labels.iter().map(|(label, word)| (*label, word.as_str())).chain(upper.map(|upper| ("le", upper)));
    let mut before = '{';
    for (label, word) in labels {
        let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{before}{label}=\"{word}\"");
        before = ',';
    }
    let _ = writeln!(text, "}} {value}");
}

/// With a point, as OpenMetrics wants bounds of buckets.
fn number(value: f64) -> String {
    format!("{value:?}")
}

#[expect(clippy::cast_precision_loss, reason = "a measure past 2^53 need not be exact")]
pub(crate) fn units(millionths: u64) -> f64 {
    millionths as f64 / 1e6
}
