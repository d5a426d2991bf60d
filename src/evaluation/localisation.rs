//! How well an image's scores fall inside the places that people marked. Pure functions.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::outcome::GridScores;
use crate::input::image::Region;

/// One heat map against one marked area.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Localisation {
    /// 1 where the middle of the highest cell is marked, else 0 (pointing game, Zhang et al. 2018, without their tolerance
    /// of 15 pixels). The first of equal cells counts.
    pub pointing: f64,
    /// Positive score inside ÷ all positive score, a cell counted by its marked share (energy-based pointing game, Wang et
    /// al. 2020). 0 without positive score.
    pub energy: f64,
    /// The marked share of what the model sees: what `energy` of an even map is, and `pointing` of a random one.
    pub chance: f64,
}

/// The marked pixels of an image as sent, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Area {
    width: usize,
    height: usize,
    inside: Vec<bool>,
}

/// A box in pixels of the image as sent; the ends are exclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corners {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

/// The pixels of a line of `size` whose middle lies between two edges.
fn middles(low: f64, high: f64, size: usize) -> Range<usize> {
    let clip = |edge: f64| (edge - 0.5).ceil().clamp(0.0, size as f64) as usize;
    clip(low)..clip(high)
}

impl Area {
    /// The pixels whose middle is in one of `boxes`.
    pub fn of_boxes(width: usize, height: usize, boxes: &[Corners]) -> Self {
        let mut inside = vec![false; width * height];
        for place in boxes {
            for y in middles(place.top, place.bottom, height) {
                middles(place.left, place.right, width).for_each(|x| inside[y * width + x] = true);
            }
        }
        Self { width, height, inside }
    }

    /// One entry a pixel. `None` where their number is another.
    pub fn of_mask(width: usize, height: usize, inside: Vec<bool>) -> Option<Self> {
        (inside.len() == width * height).then_some(Self { width, height, inside })
    }

    fn at(&self, x: f64, y: f64) -> bool {
        let clip = |place: f64, size: usize| (place.max(0.0) as usize).min(size.saturating_sub(1));
        let index = clip(y, self.height) * self.width + clip(x, self.width);
        self.inside.get(index).copied().unwrap_or(false)
    }

    /// The marked share of the pixels whose middle lies in the rectangle; of one smaller than a pixel, its middle's.
    fn share(&self, place: Corners) -> f64 {
        let (rows, cols) =
            (middles(place.top, place.bottom, self.height), middles(place.left, place.right, self.width));
        let pixels = rows.len() * cols.len();
        if pixels == 0 {
            let middle = self.at((place.left + place.right) / 2.0, (place.top + place.bottom) / 2.0);
            return f64::from(u8::from(middle));
        }
        let marked: usize = rows.map(|y| cols.clone().filter(|x| self.inside[y * self.width + x]).count()).sum();
        marked as f64 / pixels as f64
    }
}

/// Judges `scores`, which lie over `region` of the image. `None` where nothing or everything of the region is marked, or
/// there are no scores.
pub fn localisation(scores: &GridScores, region: &Region, area: &Area) -> Option<Localisation> {
    let (x, y) = (f64::from(region.x), f64::from(region.y));
    let (width, height) = (f64::from(region.width), f64::from(region.height));
    let whole = Corners { left: x, top: y, right: x + width, bottom: y + height };
    let chance = area.share(whole);
    if chance <= 0.0 || chance >= 1.0 || scores.values.is_empty() {
        return None;
    }
    let (rows, cols) = (scores.rows as f64, scores.cols as f64);
    let cell = |index: usize| {
        let (row, col) = ((index / scores.cols) as f64, (index % scores.cols) as f64);
        Corners {
            left: x + col * width / cols,
            top: y + row * height / rows,
            right: x + (col + 1.0) * width / cols,
            bottom: y + (row + 1.0) * height / rows,
        }
    };
    let mut highest = (0, f32::NEG_INFINITY);
    let (mut inside, mut all) = (0.0, 0.0);
    for (index, &score) in scores.values.iter().enumerate() {
        if score > highest.1 {
            highest = (index, score);
        }
        let positive = f64::from(score.max(0.0));
        all += positive;
        if positive > 0.0 {
            inside += positive * area.share(cell(index));
        }
    }
    let top = cell(highest.0);
    let hit = area.at((top.left + top.right) / 2.0, (top.top + top.bottom) / 2.0);
    let energy = if all > 0.0 { inside / all } else { 0.0 };
    Some(Localisation { pointing: f64::from(u8::from(hit)), energy, chance })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: Region = Region { x: 0.0, y: 0.0, width: 8.0, height: 8.0 };

    fn grid(values: &[f32]) -> GridScores {
        GridScores { rows: 2, cols: 2, values: values.to_vec() }
    }

    fn corners(left: f64, top: f64, right: f64, bottom: f64) -> Corners {
        Corners { left, top, right, bottom }
    }

    #[test]
    fn the_highest_cell_points_and_the_positive_ones_share() {
        let area = Area::of_boxes(8, 8, &[corners(0.0, 0.0, 4.0, 4.0)]);
        let found = localisation(&grid(&[3.0, 1.0, -5.0, 0.0]), &WHOLE, &area).unwrap();
        assert_eq!((found.pointing, found.energy, found.chance), (1.0, 0.75, 0.25));
        let found = localisation(&grid(&[0.0, 1.0, 0.0, 0.0]), &WHOLE, &area).unwrap();
        assert_eq!((found.pointing, found.energy), (0.0, 0.0));
    }

    #[test]
    fn a_cell_counts_by_its_marked_share() {
        let area = Area::of_boxes(8, 8, &[corners(0.0, 0.0, 2.0, 4.0), corners(0.0, 0.0, 2.0, 2.0)]);
        let found = localisation(&grid(&[1.0, 0.0, 0.0, 0.0]), &WHOLE, &area).unwrap();
        assert_eq!((found.energy, found.chance), (0.5, 8.0 / 64.0));
    }

    #[test]
    fn the_grid_lies_over_the_region_alone() {
        let region = Region { x: 4.0, y: 0.0, width: 4.0, height: 8.0 };
        let area = Area::of_boxes(8, 8, &[corners(4.0, 0.0, 6.0, 4.0)]);
        let found = localisation(&grid(&[1.0, 0.0, 0.0, 0.0]), &region, &area).unwrap();
        assert_eq!((found.pointing, found.energy, found.chance), (1.0, 1.0, 0.25));
    }

    #[test]
    fn nothing_or_everything_marked_is_no_number() {
        let all = Area::of_boxes(8, 8, &[corners(-1.0, -1.0, 99.0, 99.0)]);
        assert_eq!(localisation(&grid(&[1.0; 4]), &WHOLE, &all), None);
        assert_eq!(localisation(&grid(&[1.0; 4]), &WHOLE, &Area::of_boxes(8, 8, &[])), None);
        assert_eq!(Area::of_mask(2, 2, vec![true]), None);
    }

    #[test]
    fn masks_and_boxes_are_the_same_pixels() {
        let mask = (0..64).map(|pixel| pixel % 8 >= 2 && pixel % 8 < 5 && pixel / 8 < 3).collect();
        let boxes = Area::of_boxes(8, 8, &[corners(2.0, 0.0, 5.0, 3.0)]);
        assert_eq!(Area::of_mask(8, 8, mask), Some(boxes));
    }

    #[test]
    fn cells_smaller_than_a_pixel_are_read_at_their_middle() {
        let area = Area::of_boxes(2, 1, &[corners(0.0, 0.0, 1.0, 1.0)]);
        let scores = GridScores { rows: 1, cols: 8, values: vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0] };
        let region = Region { x: 0.0, y: 0.0, width: 2.0, height: 1.0 };
        let found = localisation(&scores, &region, &area).unwrap();
        assert_eq!((found.pointing, found.energy), (1.0, 0.5));
    }

    proptest! {
        #[test]
        fn an_even_map_gives_chance(boxes in prop::collection::vec((0_u8..8, 0_u8..8, 1_u8..8, 1_u8..8), 1..4)) {
            let boxes: Vec<Corners> = boxes
                .into_iter()
                .map(|(x, y, w, h)| corners(f64::from(x), f64::from(y), f64::from(x + w), f64::from(y + h)))
                .collect();
            let area = Area::of_boxes(8, 8, &boxes);
            if let Some(found) = localisation(&grid(&[2.0; 4]), &WHOLE, &area) {
                prop_assert!((found.energy - found.chance).abs() < 1e-12);
            }
        }
    }
}
