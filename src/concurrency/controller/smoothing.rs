//! Averages for controllers: exponential, median of five, covariance of two series.

/// An exponential moving average; the first values are averaged plainly.
#[derive(Clone, Debug)]
pub(super) struct Ema {
    /// Over how many values, roughly.
    span: u32,
    seen: u32,
    value: f64,
}

impl Ema {
    pub(super) const fn over(span: u32) -> Self {
        Self { span, seen: 0, value: 0.0 }
    }

    pub(super) fn add(&mut self, value: f64) -> f64 {
        self.seen = (self.seen + 1).min(self.span);
        // While it fills: the plain mean. Then the usual factor of an average over `span` values.
        let factor = (1.0 / f64::from(self.seen)).max(2.0 / f64::from(self.span + 1));
        self.value += factor * (value - self.value);
        self.value
    }

    pub(super) fn set(&mut self, value: f64) {
        self.value = value;
        self.seen = self.seen.max(1);
    }

    pub(super) fn get(&self) -> Option<f64> {
        (self.seen > 0).then_some(self.value)
    }

    pub(super) fn clear(&mut self) {
        self.seen = 0;
    }
}

/// The median of the last five values, averaged over five: one outlier leaves no trace.
#[derive(Clone, Debug)]
pub(super) struct Smoother {
    last: [f64; 5],
    seen: usize,
    ema: Ema,
}

impl Smoother {
    pub(super) const fn new() -> Self {
        Self { last: [0.0; 5], seen: 0, ema: Ema::over(5) }
    }

    pub(super) fn add(&mut self, value: f64) -> f64 {
        self.last[self.seen % 5] = value;
        self.seen += 1;
        let mut sorted = self.last;
        let known = &mut sorted[..self.seen.min(5)];
        known.sort_by(f64::total_cmp);
        // Of an even number the lower one: the first outlier of two values is ignored.
        self.ema.add(known[(known.len() - 1) / 2])
    }

    /// Forgets everything: what was measured under another limit says nothing about this one.
    pub(super) fn clear(&mut self) {
        self.seen = 0;
        self.ema.clear();
    }
}

/// Two series over the last 50 windows.
#[derive(Clone, Debug)]
pub(super) struct Covariance {
    pairs: [(f64, f64); Self::SPAN],
    seen: usize,
}

impl Covariance {
    const SPAN: usize = 50;

    pub(super) const fn new() -> Self {
        Self { pairs: [(0.0, 0.0); Self::SPAN], seen: 0 }
    }

    pub(super) fn add(&mut self, x: f64, y: f64) {
        self.pairs[self.seen % Self::SPAN] = (x, y);
        self.seen += 1;
    }

    /// By how many per cent `y` grows where `x` grows by one, from the regression of `y` on `x`;
    /// `None` if `x` has hardly moved.
    pub(super) fn elasticity(&self) -> Option<f64> {
        let pairs = &self.pairs[..self.seen.min(Self::SPAN)];
        let n = pairs.len() as f64;
        if n < 10.0 {
            return None;
        }
        let mean_x = pairs.iter().map(|(x, _)| x).sum::<f64>() / n;
        let mean_y = pairs.iter().map(|(_, y)| y).sum::<f64>() / n;
        let variance = pairs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>() / n;
        let covariance = pairs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / n;
        let moved = mean_x > 0.0 && mean_y > 0.0 && variance.sqrt() > 0.1 * mean_x;
        moved.then(|| covariance / variance * mean_x / mean_y)
    }
}
