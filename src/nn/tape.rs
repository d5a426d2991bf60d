//! The tape.

use super::Error;

/// Why work was given up between two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    #[error("the deadline has passed")]
    Deadline,
    #[error("nobody waits for the answer any more")]
    Cancelled,
}

/// Asked after every layer: gives the turn to somebody else if it is theirs, and says whether to go on.
pub trait Pace {
    fn step(&self) -> Result<(), Stopped>;
}

/// No turns, no deadline: tests and measurements.
impl Pace for () {
    fn step(&self) -> Result<(), Stopped> {
        Ok(())
    }
}

pub struct Tape<'a> {
    _pace: &'a dyn Pace,
}
#[derive(Clone)]
pub struct Node {}

impl<'a> Tape<'a> {
    pub fn new(pace: &'a dyn Pace, recording: bool) -> Self {
        let _ = recording;
        Self { _pace: pace }
    }
    pub fn backward(&self, of: &Node, seed: &[f32], wrt: &Node) -> Result<Vec<f32>, Error> {
        let _ = (of, seed, wrt);
        todo!()
    }
}
impl Node {
    pub fn value(&self) -> &[f32] {
        todo!()
    }
    pub fn rows(&self) -> usize {
        todo!()
    }
    pub fn cols(&self) -> usize {
        todo!()
    }
}
