//! Line charts with a logarithmic axis of costs, as SVG.

use std::fmt::Write;

const PANEL: (f64, f64) = (350.0, 230.0);
const COLUMNS: usize = 2;
/// The margins of the area of the lines within a panel.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 40.0;
/// The strokes of the first line, of the second, and so on.
const STROKES: [&str; 3] = [
    r#"stroke-width="2.5""#,
    r#"stroke-width="1.5" stroke-dasharray="6 3" stroke-opacity="0.75""#,
    r#"stroke-width="1.5" stroke-dasharray="2 3" stroke-opacity="0.75""#,
];

/// One chart: a cost in nanoseconds for each of some sizes, and one line for each contestant.
pub struct Panel {
    title: String,
    x_label: &'static str,
    sizes: Vec<String>,
    lines: Vec<(String, Vec<f64>)>,
}

impl Panel {
    /// Creates an empty chart.
    pub fn new(title: &str, x_label: &'static str) -> Self {
        Self { title: title.to_owned(), x_label, sizes: Vec::new(), lines: Vec::new() }
    }

    /// Adds the figures of one size: the name and the cost of each contestant.
    pub fn push(&mut self, size: impl ToString, figures: Vec<(String, f64)>) {
        self.sizes.push(size.to_string());
        for (name, figure) in figures {
            match self.lines.iter_mut().find(|line| line.0 == name) {
                Some(line) => line.1.push(figure),
                None => self.lines.push((name, vec![figure])),
            }
        }
    }

    /// Prints the figures as a table.
    pub fn print(&self) {
        print!("\n{}\n  {:<22}", self.title, self.x_label);
        self.sizes.iter().for_each(|size| print!("{size:>9}"));
        println!();
        for (name, figures) in &self.lines {
            print!("  {name:<22}");
            figures.iter().for_each(|figure| print!("{figure:>9.1}"));
            println!();
        }
    }

    fn draw(&self, svg: &mut String, (left, top): (f64, f64)) -> std::fmt::Result {
        let figures = || self.lines.iter().flat_map(|line| &line.1);
        let lowest = figures().copied().fold(f64::INFINITY, f64::min).log10().floor();
        let highest = figures().copied().fold(0.0, f64::max).log10().ceil();
        let (width, height) = (PANEL.0 - LEFT - RIGHT, PANEL.1 - TOP - BOTTOM);
        let (left, top) = (left + LEFT, top + TOP);
        let x = |index: usize| left + width * index as f64 / (self.sizes.len() - 1) as f64;
        let y = |cost: f64| top + height * (highest - cost.log10()) / (highest - lowest);
        let title = &self.title;
        writeln!(svg, r#"<text x="{left}" y="{}" font-weight="bold">{title}</text>"#, top - 14.0)?;
        for power in lowest as i32..=highest as i32 {
            let cost = 10_f64.powi(power);
            let (y, right) = (y(cost), left + width);
            writeln!(svg, r#"<path d="M{left} {y:.1}H{right}" stroke-opacity="0.2"/>"#)?;
            let label = left - 6.0;
            writeln!(
                svg,
                r#"<text x="{label}" y="{:.1}" text-anchor="end">{cost}</text>"#,
                y + 4.0
            )?;
        }
        for (index, size) in self.sizes.iter().enumerate() {
            let (x, y) = (x(index), top + height + 16.0);
            writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="middle">{size}</text>"#)?;
        }
        let (middle, below) = (left + width / 2.0, top + height + 32.0);
        let x_label = self.x_label;
        writeln!(
            svg,
            r#"<text x="{middle:.1}" y="{below:.1}" text-anchor="middle" font-style="italic">{x_label}</text>"#
        )?;
        let mut labels: Vec<(f64, &str)> = Vec::new();
        for ((name, costs), stroke) in self.lines.iter().zip(STROKES) {
            let points: Vec<String> = (costs.iter().enumerate())
                .map(|(index, &cost)| format!("{:.1} {:.1}", x(index), y(cost)))
                .collect();
            writeln!(svg, r#"<path d="M{}" fill="none" {stroke}/>"#, points.join("L"))?;
            labels.push((y(costs[costs.len() - 1]), name));
        }
        // Labels that would overlap are moved down.
        labels.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut free = top;
        for (y, name) in labels {
            let y = y.max(free);
            free = y + 14.0;
            let x = left + width + 6.0;
            writeln!(svg, r#"<text x="{x:.1}" y="{:.1}">{name}</text>"#, y + 4.0)?;
        }
        Ok(())
    }
}

/// Returns the charts, in rows of two, as one SVG picture with the given title.
pub fn draw(title: &str, panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (PANEL.0 * COLUMNS as f64, PANEL.1 * rows as f64);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}" font-family="sans-serif" font-size="11" fill="currentColor" style="max-width:{width}px;width:100%">
<g stroke="currentColor" fill="currentColor" text-rendering="geometricPrecision">
"#
    );
    for (index, panel) in panels.iter().enumerate() {
        let corner = ((index % COLUMNS) as f64 * PANEL.0, (index / COLUMNS) as f64 * PANEL.1);
        panel.draw(&mut svg, corner).expect("a string accepts all text");
    }
    svg.push_str("</g>\n</svg>\n");
    // Only lines have a stroke.
    svg.replace("<text ", r#"<text stroke="none" "#)
}
