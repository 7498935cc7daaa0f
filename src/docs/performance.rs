//! Measured costs beside those of other crates, and where mainstay is slower.
