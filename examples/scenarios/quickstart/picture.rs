//! The picture: both clients on one time scale, one above the other, as a self-contained SVG.

use crate::figures::{Figures, Side};
use crate::report::{Transition, recovered};
use crate::schedule::{Phase, Schedule};
use std::fmt::{self, Write};
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 1176.0;
// The heights of the results, of the two small charts, of the gaps between them, and of the strip
// with the breaker's states.
const RESULTS: f64 = 140.0;
const SMALL: f64 = 58.0;
const GAP: f64 = 26.0;
const STRIP: f64 = 16.0;

// A palette for color-blind readers too (after Okabe and Ito).
const OK: &str = "#0072b2";
const FAILED: &str = "#e06a00";
const REJECTED: &str = "#c3cad3";
const TRAFFIC: &str = "#56708a";
const MEDIAN: &str = "#9a7fb8";
const P99: &str = "#5b3f86";
const INK: &str = "#1f2933";
const FAINT: &str = "#66727f";
const RULE: &str = "#d5dae0";

/// Draws the picture and writes it to `path`.
pub(crate) fn write(
    path: &Path,
    schedule: Schedule,
    rps: u32,
    plain: &Side,
    guarded: &Side,
    transitions: &[Transition],
) -> io::Result<()> {
    let mut picture = Picture::new(schedule, rps, [plain, guarded]);
    let svg = picture
        .draw(plain, guarded, transitions)
        .map(|()| picture.svg)
        .map_err(io::Error::other)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, svg)
}

struct Picture {
    svg: String,
    schedule: Schedule,
    rps: u32,
    /// The time span of a bar, and the number of bars.
    bin: Duration,
    bins: u32,
    /// The maxima of the charts' scales, the same for both clients.
    most_reached: f64,
    longest_wait: f64,
}

impl Picture {
    fn new(schedule: Schedule, rps: u32, sides: [&Side; 2]) -> Self {
        // About a hundred bars of at least eight calls each.
        let finest = (schedule.length() / 100).max(Duration::from_secs(8) / rps);
        let bins = (schedule.length().as_secs_f64() / finest.as_secs_f64()) as u32;
        let bin = schedule.length() / bins;
        let mut picture = Self {
            svg: String::new(),
            schedule,
            rps,
            bin,
            bins,
            most_reached: 0.0,
            longest_wait: 0.0,
        };
        let figures: Vec<Figures> =
            sides.into_iter().flat_map(|side| picture.binned(side)).collect();
        for figures in figures {
            picture.most_reached = picture.most_reached.max(picture.rate(figures.reached));
            picture.longest_wait = picture.longest_wait.max(figures.p99.as_secs_f64() * 1e3);
        }
        picture
    }

    fn binned(&self, side: &Side) -> Vec<Figures> {
        (0..self.bins).map(|n| side.figures(&(self.bin * n..self.bin * (n + 1)))).collect()
    }

    /// Converts a count per bar to a rate per second.
    fn rate(&self, count: usize) -> f64 {
        count as f64 / self.bin.as_secs_f64()
    }

    fn x(&self, time: Duration) -> f64 {
        LEFT + (RIGHT - LEFT) * time.as_secs_f64() / self.schedule.length().as_secs_f64()
    }

    fn draw(&mut self, plain: &Side, guarded: &Side, transitions: &[Transition]) -> fmt::Result {
        let panel = 34.0 + RESULTS + 2.0 * (GAP + SMALL);
        let (first, second) = (104.0, 104.0 + panel + 26.0);
        let bottom = second + panel + GAP + STRIP;
        write!(
            self.svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif" font-size="12" fill="{INK}">
<title>A server fails and recovers: what its callers observe without and with mainstay</title>
<rect width="100%" height="100%" fill="white"/>
"#,
            height = bottom + 48.0
        )?;
        self.heading()?;
        self.panel(first, "Without mainstay", "three attempts, one after the other", plain, None)?;
        self.panel(
            second,
            "With mainstay",
            "timeout · retry · breaker · timeout",
            guarded,
            Some(transitions),
        )?;
        self.time_axis(bottom)?;
        self.svg.push_str("</svg>\n");
        Ok(())
    }

    fn heading(&mut self) -> fmt::Result {
        self.text(
            LEFT,
            38.0,
            r#"font-size="22" font-weight="600""#,
            "A server fails and recovers: what its callers observe",
        )?;
        let subtitle = format!(
            "{} calls per second to each server over HTTP on loopback; measured in steps of {} ms",
            self.rps,
            self.bin.as_millis()
        );
        self.text(LEFT, 62.0, &format!(r#"font-size="13" fill="{FAINT}""#), &subtitle)?;
        let mut x = LEFT;
        for (colour, name) in [(OK, "ok"), (FAILED, "failed"), (REJECTED, "rejected")] {
            self.rect(x, 76.0, 12.0, 12.0, colour)?;
            self.text(x + 18.0, 86.5, r#"font-size="13""#, name)?;
            x += 44.0 + 7.0 * name.len() as f64;
        }
        Ok(())
    }

    /// Draws one client's charts below a heading with its totals.
    fn panel(
        &mut self,
        top: f64,
        name: &str,
        description: &str,
        side: &Side,
        transitions: Option<&[Transition]>,
    ) -> fmt::Result {
        let all = side.figures(&(Duration::ZERO..Duration::MAX));
        let heading = format!(
            r#"<tspan font-size="15" font-weight="600">{name}</tspan><tspan dx="12" fill="{FAINT}">{description}</tspan>"#
        );
        self.text(LEFT, top + 18.0, r#"font-size="13""#, &heading)?;
        let totals = format!(
            "{} of {} calls ok · {} requests reached the server",
            all.ok, all.offered, all.reached
        );
        self.text(RIGHT, top + 18.0, r#"font-size="13" text-anchor="end""#, &totals)?;

        let results = top + 34.0;
        let traffic = results + RESULTS + GAP;
        let waits = traffic + SMALL + GAP;
        let strip = waits + SMALL + GAP;
        let end = if transitions.is_some() { strip + STRIP } else { waits + SMALL };
        self.phases(results, end)?;

        let bins = self.binned(side);
        self.results(results, &bins)?;
        self.recovery(results, side)?;
        self.traffic(traffic, &bins)?;
        self.waits(waits, &bins)?;
        match transitions {
            Some(transitions) => self.breaker(strip, transitions),
            None => Ok(()),
        }
    }

    /// Draws the phases as background shades with their names.
    fn phases(&mut self, top: f64, end: f64) -> fmt::Result {
        for phase in Phase::ALL {
            let (from, to) = (self.x(self.schedule.begin(phase)), self.x(self.schedule.end(phase)));
            let shade = match phase {
                Phase::Healthy | Phase::Recovered => "#f6f9fb",
                Phase::Slow => "#fdf5dc",
                Phase::Failing => "#fce8dc",
                Phase::Dead => "#e9e5ee",
            };
            self.rect(from, top, to - from, end - top, shade)?;
            let style = format!(r#"fill="{FAINT}" font-weight="600" text-anchor="middle""#);
            self.text(f64::midpoint(from, to), top + 15.0, &style, phase.name())?;
        }
        Ok(())
    }

    /// Draws the calls by result, stacked.
    fn results(&mut self, top: f64, bins: &[Figures]) -> fmt::Result {
        const HEADROOM: f64 = 1.4; // for the phases' names, and for the recovery
        let most = f64::from(self.rps) * HEADROOM;
        self.scale(top + RESULTS, RESULTS, most, f64::from(self.rps))?;
        let unit = format!(r#"fill="{FAINT}" text-anchor="end""#);
        self.text(LEFT - 8.0, top + RESULTS * (1.0 - 1.0 / HEADROOM) + 18.0, &unit, "calls / s")?;
        for (n, bin) in (0..).zip(bins) {
            let mut base = top + RESULTS;
            for (count, colour) in [(bin.ok, OK), (bin.failed, FAILED), (bin.rejected, REJECTED)] {
                let height = RESULTS * self.rate(count) / most;
                base -= height;
                self.bar(n, base, height, colour)?;
            }
        }
        Ok(())
    }

    /// Draws the requests that reached the server.
    fn traffic(&mut self, top: f64, bins: &[Figures]) -> fmt::Result {
        let most = self.most_reached * 1.05;
        self.caption(top, "requests that reached the server, per second")?;
        self.scale(top + SMALL, SMALL, most, round_below(self.most_reached))?;
        for (n, bin) in (0..).zip(bins) {
            let height = SMALL * self.rate(bin.reached) / most;
            self.bar(n, top + SMALL - height, height, TRAFFIC)?;
        }
        Ok(())
    }

    /// Draws the callers' waits: the median as bars, the 99th percentile as a line.
    fn waits(&mut self, top: f64, bins: &[Figures]) -> fmt::Result {
        let most = self.longest_wait * 1.05;
        self.caption(
            top,
            "time until callers had a result, in ms: median (bars) and 99th percentile (line)",
        )?;
        self.scale(top + SMALL, SMALL, most, round_below(self.longest_wait))?;
        let y = |wait: Duration| top + SMALL * (1.0 - wait.as_secs_f64() * 1e3 / most);
        let mut line = String::new();
        for (n, bin) in (0..).zip(bins) {
            let median = y(bin.p50);
            self.bar(n, median, top + SMALL - median, MEDIAN)?;
            let (from, to) = (self.x(self.bin * n), self.x(self.bin * (n + 1)));
            let verb = if n == 0 { 'M' } else { 'L' };
            write!(line, "{verb}{from:.1} {y:.1}H{to:.1}", y = y(bin.p99))?;
        }
        writeln!(self.svg, r#"<path d="{line}" fill="none" stroke="{P99}" stroke-width="1.5"/>"#)
    }

    /// Draws the breaker's state over time.
    fn breaker(&mut self, top: f64, transitions: &[Transition]) -> fmt::Result {
        self.caption(top, "breaker:")?;
        let mut x = LEFT + 62.0;
        for state in ["closed", "half-open", "open"] {
            self.rect(x, top - 15.0, 10.0, 10.0, colour_of(state))?;
            self.text(x + 15.0, top - 6.0, &format!(r#"fill="{FAINT}""#), state)?;
            x += 36.0 + 6.5 * state.len() as f64;
        }
        let mut from = (self.x(Duration::ZERO), "closed");
        let length = self.schedule.length();
        for Transition { at, to } in transitions.iter().filter(|transition| transition.at < length)
        {
            let x = self.x(*at);
            self.rect(from.0, top, x - from.0, STRIP, colour_of(from.1))?;
            from = (x, to);
        }
        self.rect(from.0, top, RIGHT - from.0, STRIP, colour_of(from.1))
    }

    /// Draws the time from the server's recovery until calls succeed.
    fn recovery(&mut self, top: f64, side: &Side) -> fmt::Result {
        let Some(after) = side.recovery(self.schedule) else { return Ok(()) };
        let recovery = self.schedule.begin(Phase::Recovered);
        let (from, to) = (self.x(recovery), self.x(recovery + after));
        let y = top + 29.0;
        writeln!(
            self.svg,
            r#"<path d="M{from:.1} {}V{}M{from:.1} {y}H{to:.1}M{to:.1} {}V{}" stroke="{INK}" stroke-width="1.5"/>"#,
            y - 4.0,
            top + RESULTS,
            y - 4.0,
            y + 4.0
        )?;
        self.text(to + 6.0, y + 4.0, "", &format!("{} to recover", recovered(self.schedule, side)))
    }

    fn time_axis(&mut self, top: f64) -> fmt::Result {
        let seconds = self.schedule.length().as_secs();
        let step = match seconds {
            0..=20 => 1,
            21..=60 => 5,
            _ => 10,
        };
        for second in (0..=seconds).step_by(step) {
            let x = self.x(Duration::from_secs(second));
            writeln!(self.svg, r#"<path d="M{x:.1} {top}v5" stroke="{FAINT}"/>"#)?;
            let unit = if second == 0 { " s" } else { "" };
            let style = format!(r#"fill="{FAINT}" text-anchor="middle""#);
            self.text(x, top + 20.0, &style, &format!("{second}{unit}"))?;
        }
        Ok(())
    }

    /// Draws a chart's base line and one line at `tick`, with labels.
    fn scale(&mut self, base: f64, height: f64, most: f64, tick: f64) -> fmt::Result {
        let style = format!(r#"fill="{FAINT}" text-anchor="end""#);
        for value in [0.0, tick] {
            let y = base - height * value / most;
            writeln!(self.svg, r#"<path d="M{LEFT} {y:.1}H{RIGHT}" stroke="{RULE}"/>"#)?;
            self.text(LEFT - 8.0, y + 4.0, &style, &format!("{value}"))?;
        }
        Ok(())
    }

    fn caption(&mut self, top: f64, caption: &str) -> fmt::Result {
        self.text(LEFT + 4.0, top - 6.0, &format!(r#"fill="{FAINT}""#), caption)
    }

    fn bar(&mut self, n: u32, top: f64, height: f64, colour: &str) -> fmt::Result {
        let (from, to) = (self.x(self.bin * n), self.x(self.bin * (n + 1)));
        if height > 0.0 {
            self.rect(from + 0.5, top, to - from - 1.0, height, colour)
        } else {
            Ok(())
        }
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) -> fmt::Result {
        writeln!(
            self.svg,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#
        )
    }

    fn text(&mut self, x: f64, y: f64, style: &str, text: &str) -> fmt::Result {
        writeln!(self.svg, r#"<text x="{x:.1}" y="{y:.1}" {style}>{text}</text>"#)
    }
}

fn colour_of(state: &str) -> &'static str {
    match state {
        "closed" => OK,
        "half-open" => "#f0c808",
        _ => "#3d4650",
    }
}

/// Returns the greatest of 1, 2, 5, 10, 20, 50, … that is not above `value`.
fn round_below(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1.0).log10().floor());
    [5.0, 2.0].into_iter().map(|step| step * power).find(|round| *round <= value).unwrap_or(power)
}
