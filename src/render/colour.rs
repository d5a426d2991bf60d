//! The shade of a score: blue (against the target) over white (nothing) to red (for it).

/// A colour in sRGB bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rgb(pub u8, pub u8, pub u8);

/// The diverging scale's stops from −1 to 1, evenly spaced: ColorBrewer's RdBu, with a pure white middle so that
/// "no influence" is the page's own colour.
pub(super) const STOPS: [Rgb; 5] =
    [Rgb(33, 102, 172), Rgb(146, 197, 222), Rgb(255, 255, 255), Rgb(244, 165, 130), Rgb(178, 24, 43)];

impl Rgb {
    pub(super) const BLACK: Rgb = Rgb(0, 0, 0);
    pub(super) const WHITE: Rgb = Rgb(255, 255, 255);

    /// `#rrggbb`.
    pub(super) fn hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }

    /// Black or white, whichever can be read on this colour.
    pub(super) fn ink(self) -> Rgb {
        // Rec. 709 luma; 140 keeps black on the scale's light half and white on both ends.
        let luma = 0.2126 * f32::from(self.0) + 0.7152 * f32::from(self.1) + 0.0722 * f32::from(self.2);
        if luma > 140.0 { Rgb::BLACK } else { Rgb::WHITE }
    }

    /// `share` of `other`, the rest of this.
    pub(super) fn mix(self, other: Rgb, share: f32) -> Rgb {
        let blend = |a: u8, b: u8| {
            let value = f32::from(a) + (f32::from(b) - f32::from(a)) * share.clamp(0.0, 1.0);
            value.round() as u8
        };
        Rgb(blend(self.0, other.0), blend(self.1, other.1), blend(self.2, other.2))
    }
}

/// The colour of `strength`, a score divided by the largest magnitude beside it.
pub(super) fn diverging(strength: f32) -> Rgb {
    let place = (strength.clamp(-1.0, 1.0) + 1.0) * 2.0;
    let below = (place.floor() as usize).min(STOPS.len() - 2);
    match (STOPS.get(below), STOPS.get(below + 1)) {
        (Some(low), Some(high)) => low.mix(*high, place - below as f32),
        _ => Rgb::WHITE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_blue_white_red_and_clamped() {
        assert_eq!(diverging(0.0), Rgb::WHITE);
        assert_eq!(diverging(1.0), STOPS[4]);
        assert_eq!(diverging(7.0), STOPS[4]);
        assert_eq!(diverging(-1.0), STOPS[0]);
        assert_eq!(diverging(0.5), STOPS[3]);
    }

    #[test]
    fn ink_can_be_read_on_every_shade() {
        assert_eq!(diverging(0.0).ink(), Rgb::BLACK);
        assert_eq!(diverging(1.0).ink(), Rgb::WHITE);
        assert_eq!(diverging(-1.0).ink(), Rgb::WHITE);
    }
}
