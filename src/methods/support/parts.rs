//! The units that an explanation's scores are of, read off the explanation itself: what faithfulness is measured over,
//! whatever the method.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::input::spans::Span;
use crate::input::units::{Fill, UnitKind, Units};
use crate::input::{ImageInput, Input, TextInput, segment};
use crate::methods::Attribution;

/// Units, how they are taken away, and a score for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    pub units: Units,
    pub fill: Fill,
    pub scores: Vec<f64>,
}

impl Parts {
    /// The units of `attribution`, which a method with `settings` (as resolved) gave of `input`: those that the method
    /// took away, else words or cells. `None` where it has no scores or the input no units.
    pub fn of<A>(attribution: &Attribution<A>, settings: &Value, input: &Input) -> Option<Self> {
        let (units, scores) = match input {
            Input::Text(text) => of_text(attribution, settings, text)?,
            Input::Image(image) => of_image(attribution, settings, image)?,
        };
        let fill = setting(settings, "fill").unwrap_or(match input {
            Input::Text(_) => Fill::Remove,
            Input::Image(_) => Fill::Mean,
        });
        let fits = scores.len() == units.len() && !units.is_empty();
        fits.then(|| Self { units, fill, scores: scores.iter().copied().map(f64::from).collect() })
    }

    /// Taken away as `fill` says where the method with `settings` has no fill of its own.
    pub fn filled(self, settings: &Value, fill: Fill) -> Self {
        match setting::<Fill>(settings, "fill") {
            Some(_) => self,
            None => Self { fill, ..self },
        }
    }
}

/// A setting by its name, where the method has it.
pub fn setting<T: DeserializeOwned>(settings: &Value, name: &str) -> Option<T> {
    serde_json::from_value(settings.get(name)?.clone()).ok()
}

fn of_text<A>(attribution: &Attribution<A>, settings: &Value, text: &TextInput) -> Option<(Units, Vec<f32>)> {
    let scores = &attribution.scores;
    if let Some(spans) = &scores.spans {
        let named: Vec<Span> = setting(settings, "spans")?;
        return Some((Units::spans(text, &named).ok()?, spans.clone()));
    }
    if let Some(sentences) = &scores.sentences {
        return Some((Units::sentences(text), sentences.clone()));
    }
    match (&scores.words, &scores.tokens) {
        (Some(words), _) => Some((Units::words(text), words.clone())),
        (None, Some(tokens)) => {
            let own = text.tokens.iter().zip(tokens).filter(|(token, _)| !token.special);
            Some((Units::tokens(text), own.map(|(_, score)| *score).collect()))
        }
        (None, None) => None,
    }
}

fn of_image<A>(attribution: &Attribution<A>, settings: &Value, image: &ImageInput) -> Option<(Units, Vec<f32>)> {
    if let (Some(scores), Some(picture)) = (&attribution.scores.segments, &attribution.segments) {
        let segmentation = segment::read(&STANDARD.decode(picture).ok()?)?;
        let kind = setting(settings, "unit").unwrap_or(UnitKind::Segment);
        let fits = (segmentation.rows, segmentation.cols) == (image.rows, image.cols);
        return fits.then(|| (Units::Image { kind, segmentation }, scores.clone()));
    }
    let (cells, grid) = (attribution.scores.grid.as_ref()?, attribution.grid?);
    let segmentation = segment::patches(image.rows, image.cols, grid.rows, grid.cols);
    Some((Units::Image { kind: UnitKind::Patch, segmentation }, cells.concat()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::methods::METHODS;
    use crate::methods::support::fake::Fake;

    fn parts(fake: &Fake, method: &str, settings: Value) -> Option<Parts> {
        let method = METHODS.iter().find(|known| known.name() == method).unwrap();
        let planned = method.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap();
        Parts::of(&planned.explain(fake).unwrap()[0], planned.settings(), &fake.input)
    }

    /// The very units of the method, so that masks are shared with it.
    #[test]
    fn units_are_the_methods_own() {
        let text = Fake::text(4);
        let words = parts(&text, "occlusion", json!({"fill": "mask"})).unwrap();
        assert_eq!((words.units, words.fill, words.scores.len()), (text.units(), Fill::Mask, 4));
        let tokens = parts(&text, "occlusion", json!({"unit": "token"})).unwrap();
        assert_eq!(tokens.units, Units::tokens(text.input.as_text().unwrap()));
        let spans = parts(&text, "occlusion", json!({"unit": "span", "spans": [[0, 5]]})).unwrap();
        assert_eq!((spans.units.len(), spans.scores.len()), (1, 1));
        let gradient = parts(&text, "gradient", json!({})).unwrap();
        assert_eq!((gradient.units, gradient.fill), (text.units(), Fill::Remove));
        let image = Fake::image(4);
        let patches = Units::Image { kind: UnitKind::Patch, segmentation: segment::patches(4, 4, 2, 2) };
        for (method, settings) in [("occlusion", json!({"unit": "patch"})), ("gradient", json!({}))] {
            assert_eq!(parts(&image, method, settings).unwrap().units, patches, "{method}");
        }
        let boxes = parts(&image, "occlusion", json!({"window": 2})).unwrap();
        assert_eq!((boxes.units, boxes.fill), (patches, Fill::Zero));
    }

    /// A method without a fill is measured by another's.
    #[test]
    fn a_fill_of_ones_own_is_kept() {
        let fake = Fake::text(3);
        for (method, fill) in [("gradient", Fill::Pad), ("occlusion", Fill::Remove)] {
            let method = METHODS.iter().find(|known| known.name() == method).unwrap();
            let planned = method.plan(serde_json::Map::new(), &fake.subject()).unwrap();
            let found = Parts::of(&planned.explain(&fake).unwrap()[0], planned.settings(), &fake.input).unwrap();
            assert_eq!(found.filled(planned.settings(), Fill::Pad).fill, fill);
        }
    }

    #[test]
    fn nothing_scored_is_no_part() {
        assert_eq!(parts(&Fake::text(0), "occlusion", json!({})), None);
        assert_eq!(parts(&Fake::text(3), "logit_lens", json!({})), None);
    }
}
