//! Which layers (or heads) of a model a caller chooses.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::methods::SettingError;

/// Which layers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected \"all\", \"last\" or a list of layer indices")]
pub enum LayerChoice {
    Named(LayerName),
    Indices(Vec<i64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LayerName {
    All,
    Last,
}

/// The setting `layers` as indices from 0.
pub fn resolve(asked: Option<LayerChoice>, default: LayerName, layers: usize) -> Result<Vec<usize>, SettingError> {
    match asked.unwrap_or(LayerChoice::Named(default)) {
        LayerChoice::Named(LayerName::All) => Ok((0..layers).collect()),
        LayerChoice::Named(LayerName::Last) => Ok((layers.saturating_sub(1)..layers).collect()),
        LayerChoice::Indices(indices) => chosen("layers", "layer", &indices, layers),
    }
}

/// Indices counted from 0 and in range, none twice; negative ones count from the end.
pub fn chosen(field: &str, what: &str, indices: &[i64], count: usize) -> Result<Vec<usize>, SettingError> {
    let mut resolved = Vec::with_capacity(indices.len());
    for (position, &index) in indices.iter().enumerate() {
        let place = format!("{field}/{position}");
        let index = one(&place, what, index, count)?;
        if resolved.contains(&index) {
            return Err(SettingError::new(&place, format!("{what} {index} is named twice; name it once")));
        }
        resolved.push(index);
    }
    if resolved.is_empty() {
        return Err(SettingError::new(field, format!("an empty list chooses nothing; name a {what}")));
    }
    Ok(resolved)
}

/// One index, as in [`chosen`].
pub fn one(field: &str, what: &str, index: i64, count: usize) -> Result<usize, SettingError> {
    let from_start = if index < 0 { index.checked_add_unsigned(count as u64) } else { Some(index) };
    from_start.and_then(|index| usize::try_from(index).ok()).filter(|&index| index < count).ok_or_else(|| {
        let detail = format!(
            "{what} {index} does not exist; the model has {count}, counted from 0: use −{count} to {}",
            count.saturating_sub(1)
        );
        let none = || format!("the model has no {what}; use another method");
        SettingError::new(field, if count == 0 { none() } else { detail })
    })
}
