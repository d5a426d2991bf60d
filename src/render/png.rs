//! An image's explanations as one PNG: the image, then a heat map an explanation, each with its title and legend.

use font8x8::UnicodeFonts as _;
use image::{Rgb as Pixel, RgbImage, imageops};

use super::chart::Chart;
use super::colour::{Rgb, diverging};
use super::heat;
use super::scored::{self, ScoreMap};
use super::{RenderError, heat::SIDE};
use crate::explain::Answer;
use crate::explain::outcome::InputView;

const MARGIN: u32 = 12;
/// A character cell: the 8 × 8 font, drawn twice as high.
const GLYPH: (u32, u32) = (8, 16);
const BAR_HEIGHT: u32 = 10;

/// Draws an image's answer; `image` are the bytes as sent.
pub fn png(answer: &Answer, image: Option<&[u8]>) -> Result<Vec<u8>, RenderError> {
    let InputView::Image(view) = &answer.input else { return Err(RenderError::PngOfText) };
    let original = heat::original(image.ok_or(RenderError::MissingImage)?)?;
    let mut panels = vec![Panel {
        lines: [answer.model.name.clone(), scored::predicted(answer)],
        picture: original.clone(),
        scale: None,
    }];
    for explanation in answer.explanations.iter().flatten() {
        let target = explanation.target.as_ref().map(ToString::to_string);
        let (picture, scale) = match (Chart::of(explanation, SIDE as usize), ScoreMap::of(explanation)?) {
            (Some(chart), _) => (drawn(&chart), None),
            (None, Some(map)) => {
                let scale = scored::scale(map.values.iter().copied());
                (heat::overlay(&original, view, &map), Some(scale))
            }
            (None, None) => continue,
        };
        panels.push(Panel { lines: [explanation.method.clone(), target.unwrap_or_default()], picture, scale });
    }
    if panels.len() == 1 {
        return Err(RenderError::NothingToDraw);
    }
    heat::encode(&sheet(&panels))
}

fn drawn(chart: &Chart) -> RgbImage {
    let mut picture = RgbImage::from_pixel(SIDE, (chart.height as u32).max(1), Pixel([255, 255, 255]));
    for rectangle in &chart.rectangles {
        for y in rectangle.y..rectangle.y + rectangle.height {
            for x in rectangle.x..rectangle.x + rectangle.width {
                put(&mut picture, x as u32, y as u32, rectangle.colour);
            }
        }
    }
    for text in &chart.texts {
        write_in(&mut picture, (text.x as u32, text.y as u32 + 1), &text.line, text.ink);
    }
    picture
}

struct Panel {
    lines: [String; 2],
    picture: RgbImage,
    /// The score of the strongest colour; `None` for the image itself.
    scale: Option<f32>,
}

/// Panels side by side.
fn sheet(panels: &[Panel]) -> RgbImage {
    let step = SIDE + MARGIN;
    let top = MARGIN + 2 * GLYPH.1 + MARGIN / 2;
    let tallest = panels.iter().map(|panel| panel.picture.height()).max().unwrap_or(0);
    let height = top + tallest + MARGIN / 2 + BAR_HEIGHT + GLYPH.1 + MARGIN;
    let mut sheet = RgbImage::from_pixel(MARGIN + step * panels.len() as u32, height, Pixel([255, 255, 255]));
    for (index, panel) in panels.iter().enumerate() {
        let left = MARGIN + step * index as u32;
        for (row, line) in panel.lines.iter().enumerate() {
            write(&mut sheet, left, MARGIN + row as u32 * GLYPH.1, line);
        }
        imageops::replace(&mut sheet, &panel.picture, i64::from(left), i64::from(top));
        if let Some(scale) = panel.scale {
            legend(&mut sheet, left, top + tallest + MARGIN / 2, scale);
        }
    }
    sheet
}

/// The scale's colours with the scores of both ends below.
fn legend(sheet: &mut RgbImage, left: u32, top: u32, scale: f32) {
    for x in 0..SIDE {
        let shade = diverging(x as f32 / (SIDE - 1) as f32 * 2.0 - 1.0);
        for y in 0..BAR_HEIGHT {
            put(sheet, left + x, top + y, shade);
        }
    }
    let (low, high) = (scored::signed(-scale), scored::signed(scale));
    let below = top + BAR_HEIGHT + 2;
    write(sheet, left, below, &low);
    write(sheet, left + SIDE / 2 - GLYPH.0 / 2, below, "0");
    write(sheet, left + SIDE - GLYPH.0 * high.len() as u32, below, &high);
}

fn write(sheet: &mut RgbImage, left: u32, top: u32, line: &str) {
    write_in(sheet, (left, top), line, Rgb::BLACK);
}

/// One line of at most a panel's width; what the font lacks becomes `?`.
fn write_in(sheet: &mut RgbImage, (left, top): (u32, u32), line: &str, ink: Rgb) {
    for (index, c) in line.chars().take((SIDE / GLYPH.0) as usize).enumerate() {
        let c = if c == '…' { '.' } else { c };
        let glyph = font8x8::BASIC_FONTS.get(c).or_else(|| font8x8::LATIN_FONTS.get(c));
        let rows = glyph.or_else(|| font8x8::BASIC_FONTS.get('?')).unwrap_or_default();
        for (y, bits) in (0u32..).zip(rows) {
            for x in (0..GLYPH.0).filter(|x| bits >> x & 1 == 1) {
                let column = left + index as u32 * GLYPH.0 + x;
                put(sheet, column, top + 2 * y, ink);
                put(sheet, column, top + 2 * y + 1, ink);
            }
        }
    }
}

fn put(sheet: &mut RgbImage, x: u32, y: u32, colour: Rgb) {
    if let Some(pixel) = sheet.get_pixel_mut_checked(x, y) {
        *pixel = Pixel([colour.0, colour.1, colour.2]);
    }
}
