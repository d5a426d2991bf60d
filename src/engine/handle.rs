//! The async side: what HTTP holds.
pub struct Engine {}
pub struct EngineError {}
pub struct EngineStatus {}
pub struct Phase {}
