//! What a method does when the deadline passes: an error, unless the caller wants what there is.

use crate::methods::{Ctx, Error};
use crate::nn::{self, Stopped};

/// Whether `error` is a deadline that has passed for a caller who wants what there is.
pub fn ends_early(ctx: &dyn Ctx, error: &Error) -> bool {
    ctx.partial() && error.stopped() == Some(Stopped::Deadline)
}

/// What was done, or `None` where the deadline passed before and the caller wants what there is.
///
/// # Errors
/// Every other error of `done`.
pub fn in_time<T>(ctx: &dyn Ctx, done: Result<T, Error>) -> Result<Option<T>, Error> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if ends_early(ctx, &error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// For rounds that evaluate nothing new: false where the deadline has passed and the caller wants what there is.
///
/// # Errors
/// The deadline passed, or the caller has gone.
pub fn left(ctx: &dyn Ctx) -> Result<bool, Error> {
    let checked = ctx.checkpoint().map_err(|why| nn::Error::from(why).into());
    Ok(in_time(ctx, checked)?.is_some())
}
