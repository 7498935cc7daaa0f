//! Tables for the controllers.
