//! An answer repeated from itself: [`Recorded`] reads one and makes the request it was given to, [`compare`] says where
//! the answer to that differs. Both look at JSON rather than at [`Answer`](super::Answer), so that a field that is new is
//! asked for again and compared without being named here. Called by `cli`, which has the files and the model.

mod compare;
mod exact;
mod record;

pub use compare::{Comparison, Difference, compare};
pub use exact::{Damage, parse};
pub use record::{RecordError, Recorded};
