//! The frame of an HTML page that needs nothing else: no script, no style sheet, no font from elsewhere.

use super::scored::escaped;

/// What stands around a page's body.
pub struct Page<'a> {
    /// In plain text.
    pub title: &'a str,
    /// The widest it gets, in rem.
    pub width: usize,
    /// Whether it holds pictures.
    pub pictures: bool,
    /// Rules of its own, a line each.
    pub style: &'a str,
}

impl Page<'_> {
    /// The page; `body` is HTML. The policy forbids a browser what the page never does, should an escape ever be missing.
    pub fn around(&self, body: &str) -> String {
        let Self { width, style, .. } = self;
        let title = escaped(self.title);
        let pictures = if self.pictures { "; img-src data:" } else { "" };
        format!(
            r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'{pictures}">
<style>
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: {width}rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff; }}
h1 {{ font-size: 1.3rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
{style}</style>
<title>{title}</title>
</head>
<body>
{body}</body>
</html>
"#
        )
    }
}
