//! A drawing as a bitmap.
//!
//! The text is set in a font that is part of the program, so that the picture does not depend on
//! the fonts of the machine.

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree};

use super::FigureError;

/// Pixels per unit of the drawing: at 2.5 a figure of 720 units is 6 inches at 300 dots per inch.
const SCALE: f32 = 2.5;

/// The family name of the embedded font: Noto Sans, under the SIL Open Font License 1.1.
const FAMILY: &str = "Noto Sans";

pub(super) fn render(svg: &str) -> Result<Vec<u8>, FigureError> {
    let mut options = Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_font_data(notosans::REGULAR_TTF.to_vec());
    fonts.load_font_data(notosans::BOLD_TTF.to_vec());
    fonts.set_sans_serif_family(FAMILY);
    let tree = Tree::from_str(svg, &options)?;

    let size = tree.size().to_int_size();
    let size = size.scale_by(SCALE).unwrap_or(size);
    let (width, height) = (size.width(), size.height());
    let mut pixels = Pixmap::new(width, height).ok_or(FigureError::Bitmap { width, height })?;
    pixels.fill(Color::WHITE);
    let transform = Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, transform, &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| FigureError::Png {
        reason: error.to_string(),
    })
}
