//! Statistics for controllers: a moving average, a smoothed median, recent peaks, the elasticity of
//! two series.

/// An exponential moving average that starts as the arithmetic mean of the first values.
#[derive(Clone, Debug)]
pub(super) struct Ema {
    /// The approximate number of values that the average covers.
    span: u32,
    /// The number of values added, at most `span`.
    seen: u32,
    value: f64,
}

impl Ema {
    pub(super) const fn over(span: u32) -> Self {
        Self { span, seen: 0, value: 0.0 }
    }

    pub(super) fn add(&mut self, value: f64) -> f64 {
        self.seen = (self.seen + 1).min(self.span);
        // The arithmetic mean of the first `(span + 1) / 2` values; after these, the usual factor
        // `2 / (span + 1)` of an exponential average.
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

/// An exponential average of the median of the last five values. A single outlier has no effect.
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
        // The lower median of an even number, so that a high outlier among two values is ignored.
        self.ema.add(known[(known.len() - 1) / 2])
    }

    /// Discards all values. Values measured under another limit do not apply to the current one.
    pub(super) fn clear(&mut self) {
        self.seen = 0;
        self.ema.clear();
    }
}

/// The peak number of calls in flight in each of the last windows.
#[derive(Clone, Debug)]
pub(super) struct Peaks {
    ring: [u32; Self::SPAN],
    seen: usize,
}

impl Peaks {
    const SPAN: usize = 30;

    pub(super) const fn new() -> Self {
        Self { ring: [0; Self::SPAN], seen: 0 }
    }

    /// Adds the peak of a window, and returns the highest of the last windows.
    pub(super) fn add(&mut self, peak: u32) -> u32 {
        self.ring[self.seen % Self::SPAN] = peak;
        self.seen += 1;
        self.ring.iter().copied().max().unwrap_or(0)
    }
}

/// The values of two series over the last 50 windows.
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

    /// Returns by how many per cent `y` grows when `x` grows by one per cent, from the regression
    /// of `y` on `x`.
    ///
    /// Returns `None` if there are fewer than ten pairs, if a mean is not positive, or if the
    /// standard deviation of `x` is at most a tenth of its mean.
    pub(super) fn elasticity(&self) -> Option<f64> {
        let pairs = &self.pairs[..self.seen.min(Self::SPAN)];
        let n = pairs.len() as f64;
        if n < 10.0 {
            return None;
        }
        let mean_x = pairs.iter().map(|(x, _)| x).sum::<f64>() / n;
        let mean_y = pairs.iter().map(|(_, y)| y).sum::<f64>() / n;
        let variance = pairs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>() / n;
        // The deviations of `x` add up to zero, so the mean of `y` cancels out.
        let covariance = pairs.iter().map(|(x, y)| (x - mean_x) * y).sum::<f64>() / n;
        let moved = mean_x > 0.0 && mean_y > 0.0 && variance.sqrt() > 0.1 * mean_x;
        moved.then(|| covariance / variance * mean_x / mean_y)
    }
}
