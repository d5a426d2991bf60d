//! Answers as a person reads them: coloured text, HTML, SVG, PNG.
