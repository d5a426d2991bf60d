//! A data set explained and judged: [`data`] (what people have on disk), [`run`] (ask for every item, keep what is
//! finished in the [`journal`]), [`report`] (means, intervals, agreement) drawn by [`markdown`] and [`html`], and the checks
//! beside it: [`plausibility`], [`localisation`], [`sanity`], [`swaps`], [`templates`],
//! [`drift`]. Statistics and metrics are pure functions. Not here: models, settings and the
//! terminal, which are `cli`'s.

pub mod data;
pub mod drift;
mod html;
pub mod journal;
mod localisation;
mod markdown;
pub mod outcome;
mod plausibility;
mod plot;
pub mod report;
pub mod run;
pub mod sanity;
mod statistics;
pub mod swaps;
pub mod templates;

pub use html::html;
pub use localisation::{Area, Corners, Localisation, localisation};
pub use markdown::markdown;
pub use plausibility::{Plausibility, plausibility};
pub use statistics::{Estimate, spearman, top_overlap};
