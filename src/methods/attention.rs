//! `attention`.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Attribution, Cost, Ctx, Error, Method, SettingError, Subject};
use crate::input::Kind;
use crate::models::Capability;

pub struct Attention;

/// Documentation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AttentionSettings)]
pub struct Settings {}
#[derive(Debug, Serialize)]
pub struct Resolved {}

impl Method for Attention {
    const NAME: &'static str = "attention";
    const GROUP: &'static str = "attention";
    const REQUIRES: &'static [Capability] = &[Capability::Forward];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    type Settings = Settings;
    type Resolved = Resolved;
    fn resolve(_settings: Settings, _subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        todo!()
    }
    fn cost(_resolved: &Resolved, _subject: &Subject<'_>) -> Cost {
        todo!()
    }
    fn explain(_resolved: &Resolved, _ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        todo!()
    }
}
