//! The importance of a call: [`Priority`], [`PriorityClass`].

/// The importance of a class of calls; part of a [`Priority`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PriorityClass {
    /// Work that can be lost, such as prefetching.
    VeryLow,
    /// Work that can be repeated later, such as a batch.
    Low,
    /// The default.
    #[default]
    Medium,
    /// Work that a user waits for.
    High,
    /// Work that must not fail, such as a payment or a health check.
    VeryHigh,
}

/// The importance of a call: a [class](PriorityClass), and one of 100 levels within the class.
///
/// Priorities are ordered: every level of a class is above every level of the classes below it.
/// The default is level 50 of [`PriorityClass::Medium`].
///
/// ```
/// use mainstay::policy::{Priority, PriorityClass};
///
/// let batch = Priority::new(PriorityClass::Low, 99);
/// let payment = Priority::from(PriorityClass::VeryHigh);
/// assert!(batch < Priority::default() && Priority::default() < payment);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u16);

impl Priority {
    /// The number of levels in a class.
    pub const LEVELS: u8 = 100;
    /// The number of priorities of all classes.
    pub(crate) const COUNT: usize = 5 * Self::LEVELS as usize;

    /// Creates the priority of `level` in `class`. Levels above 99 count as 99.
    ///
    /// ```
    /// use mainstay::policy::{Priority, PriorityClass};
    ///
    /// let priority = Priority::new(PriorityClass::High, 10);
    /// assert_eq!((priority.class(), priority.level()), (PriorityClass::High, 10));
    /// ```
    #[must_use]
    pub const fn new(class: PriorityClass, level: u8) -> Self {
        let level = if level < Self::LEVELS { level } else { Self::LEVELS - 1 };
        Self(class as u16 * Self::LEVELS as u16 + level as u16)
    }

    /// Returns the class.
    #[must_use]
    pub const fn class(self) -> PriorityClass {
        match self.0 / Self::LEVELS as u16 {
            0 => PriorityClass::VeryLow,
            1 => PriorityClass::Low,
            2 => PriorityClass::Medium,
            3 => PriorityClass::High,
            _ => PriorityClass::VeryHigh,
        }
    }

    /// Returns the level within the class, from 0 to 99.
    #[must_use]
    pub const fn level(self) -> u8 {
        (self.0 % Self::LEVELS as u16) as u8
    }

    /// Returns the priority with this [`index`](Self::index).
    pub(crate) const fn at(index: usize) -> Self {
        let last = Self::COUNT - 1;
        Self(if index < last { index } else { last } as u16)
    }

    /// Returns the position in the order of all priorities, less than [`COUNT`](Self::COUNT).
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl From<PriorityClass> for Priority {
    fn from(class: PriorityClass) -> Self {
        Self::new(class, 50)
    }
}

impl Default for Priority {
    fn default() -> Self {
        PriorityClass::default().into()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_ordered_by_class_then_by_level() {
        let classes = [
            PriorityClass::VeryLow,
            PriorityClass::Low,
            PriorityClass::Medium,
            PriorityClass::High,
            PriorityClass::VeryHigh,
        ];
        let mut index = 0;
        for class in classes {
            for level in 0..Priority::LEVELS {
                let priority = Priority::new(class, level);
                assert_eq!((priority.class(), priority.level()), (class, level));
                assert_eq!(priority.index(), index);
                index += 1;
            }
            assert_eq!(Priority::new(class, 255), Priority::new(class, 99));
        }
        assert_eq!(index, Priority::COUNT);
    }

    #[test]
    fn an_index_out_of_range_selects_the_highest_priority() {
        let highest = Priority::new(PriorityClass::VeryHigh, 99);
        for (index, priority) in [
            (0, Priority::new(PriorityClass::VeryLow, 0)),
            (150, PriorityClass::Low.into()),
            (Priority::COUNT - 2, Priority::new(PriorityClass::VeryHigh, 98)),
            (Priority::COUNT - 1, highest),
            (Priority::COUNT, highest),
            (usize::MAX, highest),
        ] {
            assert_eq!(Priority::at(index), priority, "{index}");
        }
    }
}
