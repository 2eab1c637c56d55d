//! Pictures as files: from the bytes of a JPEG to pixels, resized and cropped. It knows neither
//! tensors nor tasks.

pub mod picture;

#[cfg(test)]
mod fixture;
