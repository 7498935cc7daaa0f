//! Plots of simulations: an HTML page with SVG images.

use super::report::{Point, SimulationResult};
use std::fmt::Write;

/// The line colors of the policies, in the order of the results.
const COLORS: [&str; 7] =
    ["#999999", "#d62728", "#ff7f0e", "#9467bd", "#17becf", "#1f77b4", "#2ca02c"];
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 160.0;
/// The largest number of points of a curve. If there are more, each is the mean of several.
const POINTS: usize = 450;

/// Returns an HTML page with three plots for each trace: limit, latency and goodput over time.
///
/// Each element of `results` holds the results of one trace. Each plot has one line per policy.
///
/// ```
/// use mainstay::concurrency::simulator::{Trace, compare, html_page};
///
/// let page = html_page(&[compare(&Trace::low_traffic())]);
/// assert!(page.contains("<svg"));
/// ```
#[must_use]
pub fn html_page(results: &[Vec<SimulationResult>]) -> String {
    let mut page = String::from(
        "<!doctype html><meta charset=\"utf-8\"><title>Overload lab</title>\n<style>body{font:14px \
         sans-serif;max-width:960px;margin:auto}svg{display:block;border-bottom:1px solid #ccc}</style>\n",
    );
    for results in results {
        let Some(first) = results.first() else { continue };
        let _ = writeln!(page, "<h2>{}</h2><p>", first.trace);
        for (result, color) in results.iter().zip(COLORS) {
            let _ = writeln!(page, "<b style=\"color:{color}\">{}</b> ", result.policy);
        }
        let workers = first.points.iter().map(|point| point.workers).fold(1.0, f64::max);
        let optimal = first.points.iter().map(|point| point.optimal).fold(1.0, f64::max);
        let latency = median(first.points.iter().map(|point| point.latency.as_secs_f64()));
        picture(
            &mut page,
            results,
            "limit, and workers (dashed)",
            5.0 * workers,
            Some(|point| point.workers),
            |point| point.limit,
        );
        picture(
            &mut page,
            results,
            "mean latency in milliseconds",
            10_000.0 * latency.max(0.01),
            None,
            |point| 1000.0 * point.latency.as_secs_f64(),
        );
        picture(
            &mut page,
            results,
            "goodput, and the optimum (dashed), per second",
            1.2 * optimal,
            Some(|point| point.optimal),
            |point| point.goodput,
        );
    }
    page
}

/// Appends one plot, clipped at `top`.
fn picture(
    page: &mut String,
    results: &[SimulationResult],
    title: &str,
    top: f64,
    reference: Option<fn(&Point) -> f64>,
    value: fn(&Point) -> f64,
) {
    let _ = writeln!(
        page,
        "<svg width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">"
    );
    let _ = writeln!(page, "<text x=\"4\" y=\"12\" font-size=\"11\">{title}; top {top:.0}</text>");
    if let (Some(reference), Some(first)) = (reference, results.first()) {
        line(page, &first.points, top, "black\" stroke-dasharray=\"4 3", reference);
    }
    for (result, color) in results.iter().zip(COLORS) {
        line(page, &result.points, top, color, value);
    }
    page.push_str("</svg>\n");
}

fn line(page: &mut String, points: &[Point], top: f64, stroke: &str, value: fn(&Point) -> f64) {
    if points.iter().any(|point| !value(point).is_finite()) {
        return; // a policy without a limit has no line
    }
    let step = points.len().div_ceil(POINTS).max(1);
    let _ = write!(page, "<polyline fill=\"none\" stroke=\"{stroke}\" points=\"");
    for (index, chunk) in points.chunks(step).enumerate() {
        let mean = chunk.iter().map(value).sum::<f64>() / chunk.len() as f64;
        let x = WIDTH * (index * step) as f64 / points.len() as f64;
        let y = HEIGHT * (1.0 - (mean / top).clamp(0.0, 1.0));
        let _ = write!(page, "{x:.1},{y:.1} ");
    }
    page.push_str("\"/>\n");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
