//! What pictures have in common: their colours and their text.

use std::{error::Error, fs, io, path::Path};

use plotters::{
    backend::SVGBackend,
    coord::Shift,
    drawing::{DrawingArea, IntoDrawingArea},
    element::Text,
    style::{
        IntoFont, RGBColor, TextStyle,
        text_anchor::{Pos, VPos},
    },
};

pub use plotters::style::text_anchor::HPos;

/// White, so that it is legible on a dark page too.
pub const PAPER: RGBColor = RGBColor(255, 255, 255);
/// Of text.
pub const INK: RGBColor = RGBColor(34, 34, 34);
/// Of text that is less important.
pub const PALE: RGBColor = RGBColor(110, 110, 110);
/// Of a grid.
pub const LINES: RGBColor = RGBColor(222, 222, 222);

/// Colours that are told apart also by those who see few.
pub const BLUE: RGBColor = RGBColor(0, 114, 178);
/// See [`BLUE`].
pub const ORANGE: RGBColor = RGBColor(230, 159, 0);
/// See [`BLUE`].
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
/// See [`BLUE`].
pub const PINK: RGBColor = RGBColor(204, 121, 167);
/// See [`BLUE`].
pub const GREY: RGBColor = RGBColor(150, 150, 150);

/// A picture, in pixels.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// What comes of drawing.
pub type Drawn = Result<(), Box<dyn Error>>;

/// Draws a picture of this width and height into a file, and makes its directory.
pub fn draw(path: &Path, (width, height): (i32, i32), what: impl FnOnce(&Area<'_>) -> Drawn) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let area = SVGBackend::new(path, (width.unsigned_abs(), height.unsigned_abs())).into_drawing_area();
    let drawn = area.fill(&PAPER).map_err(Into::into).and_then(|()| what(&area));
    let presented = drawn.and_then(|()| area.present().map_err(Into::into));
    presented.map_err(|error| io::Error::other(format!("{} cannot be drawn: {error}", path.display())))
}

/// Writes a line of text; `at` is its upper left corner.
pub fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, colour: RGBColor) -> Drawn {
    write_beside(area, text, at, size, colour, HPos::Left)
}

/// Writes a line of text; `at` is the left end, the middle or the right end of its upper edge.
pub fn write_beside(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, colour: RGBColor, is_at: HPos) -> Drawn {
    let style = TextStyle::from(("sans-serif", size).into_font()).color(&colour).pos(Pos::new(is_at, VPos::Top));
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}
