//! The description at the beginning of a GGUF file: keys and values, and where each tensor stands. Nothing is taken at
//! its word: a count is compared with the bytes that are left before anything is allocated for it.

use std::collections::HashMap;
use std::ops::Range;

use crate::hub::FileBytes;
use crate::nn::Stored;

const MAGIC: &[u8; 4] = b"GGUF";
/// The longest description that is read: vocabularies of a quarter of a million words take 15 MB.
const LONGEST: usize = 64 << 20;
/// Read at a time.
const WINDOW: usize = 1 << 16;
const ALIGNMENT: usize = 32;
/// Bytes that a key with its value, and a tensor, take at least.
const LEAST: (usize, usize) = (8 + 4 + 1, 8 + 4 + 4 + 8);
const DIMENSIONS: u32 = 4;
/// A string's type, and an array's.
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// What a key says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(f64),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<f64>),
}

/// Where a tensor stands, and what its numbers are stored as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub stored: Stored,
    /// Rows first, as transformers has it.
    pub shape: Vec<usize>,
    /// In the file.
    pub place: Range<usize>,
}

/// The description of a GGUF file.
#[derive(Debug)]
pub struct Header {
    values: HashMap<String, Value>,
    pub tensors: Vec<Tensor>,
}

impl Header {
    /// # Errors
    /// Says what is wrong with the file.
    pub fn read(bytes: &FileBytes) -> Result<Self, String> {
        let mut reader = Reader { bytes, at: 0, end: bytes.len().min(LONGEST), window: Vec::new(), start: 0 };
        if reader.take(MAGIC.len())? != MAGIC {
            return Err("it does not begin with GGUF".into());
        }
        let version = reader.u32()?;
        if !(2..=3).contains(&version) {
            return Err(format!("version {version} is not read, only 2 and 3 with the little end first"));
        }
        let tensors = reader.count("tensors", LEAST.1)?;
        let keys = reader.count("keys", LEAST.0)?;
        let mut values = HashMap::new();
        for _ in 0..keys {
            let key = reader.text()?;
            let kind = reader.u32()?;
            if let Some(value) = reader.value(&key, kind)? {
                values.insert(key, value);
            }
        }
        let found = (0..tensors).map(|_| reader.tensor()).collect::<Result<Vec<_>, _>>()?;
        let mut header = Self { values, tensors: Vec::with_capacity(found.len()) };
        let start = reader.at.next_multiple_of(header.alignment()?);
        for (name, stored, shape, offset) in found {
            header.tensors.push(placed(name, stored, shape, start.checked_add(offset), bytes.len())?);
        }
        Ok(header)
    }

    fn alignment(&self) -> Result<usize, String> {
        match self.number("general.alignment") {
            None => Ok(ALIGNMENT),
            Some(own) if own >= 1.0 && own <= f64::from(1 << 20) && own.fract() == 0.0 => Ok(own as usize),
            Some(own) => Err(format!("general.alignment: {own} is no alignment")),
        }
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        match self.values.get(key) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    pub fn numbers(&self, key: &str) -> Option<&[f64]> {
        match self.values.get(key) {
            Some(Value::Numbers(numbers)) => Some(numbers),
            _ => None,
        }
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.values.get(key) {
            Some(Value::Texts(texts)) => Some(texts),
            _ => None,
        }
    }

    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

fn placed(name: String, stored: Stored, shape: Vec<usize>, start: Option<usize>, len: usize) -> Result<Tensor, String> {
    let numbers = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    // A row is whole blocks.
    let whole = shape.last().is_some_and(|width| stored.size(*width).is_some());
    let size = numbers.filter(|_| whole).and_then(|numbers| stored.size(numbers));
    let size = size.ok_or_else(|| format!("tensor \"{name}\" of {shape:?} cannot be {stored:?}"))?;
    match start.and_then(|start| Some(start..start.checked_add(size)?)).filter(|place| place.end <= len) {
        Some(place) => Ok(Tensor { name, stored, shape, place }),
        None => Err(format!("it ends before tensor \"{name}\" does, at {len} bytes; it was cut short")),
    }
}

/// What follows in the file, read a window at a time.
struct Reader<'a> {
    bytes: &'a FileBytes,
    at: usize,
    /// Nothing from here on is read.
    end: usize,
    window: Vec<u8>,
    /// Where the window begins.
    start: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        self.left(count)?;
        let inside = self.at - self.start + count <= self.window.len();
        if !inside {
            self.window.resize((self.end - self.at).min(count.max(WINDOW)), 0);
            self.start = self.at;
            self.bytes.read(self.at, &mut self.window).map_err(|error| error.to_string())?;
        }
        let first = self.at - self.start;
        self.at += count;
        Ok(&self.window[first..first + count])
    }

    /// # Errors
    /// Not so many bytes are left.
    fn left(&self, count: usize) -> Result<(), String> {
        match count <= self.end - self.at {
            true => Ok(()),
            false if self.end == LONGEST => Err(format!("its description is longer than {} MiB", LONGEST >> 20)),
            false => Err(format!("its description needs {count} bytes more, and {} are left", self.end - self.at)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "it cannot be read".to_owned())
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn size(&mut self) -> Result<usize, String> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| "a number in it is too large".to_owned())
    }

    /// A number of things that take `least` bytes each.
    fn count(&mut self, what: &str, least: usize) -> Result<usize, String> {
        let count = self.size()?;
        let bytes = count.checked_mul(least).ok_or_else(|| format!("it promises {count} {what}"))?;
        self.left(bytes).map_err(|detail| format!("it promises {count} {what}: {detail}"))?;
        Ok(count)
    }

    fn text(&mut self) -> Result<String, String> {
        let count = self.count("characters", 1)?;
        Ok(String::from_utf8_lossy(self.take(count)?).into_owned())
    }

    /// A key's value; `None` of an array of small numbers, which nobody asks for.
    fn value(&mut self, key: &str, kind: u32) -> Result<Option<Value>, String> {
        if kind == TEXT {
            return Ok(Some(Value::Text(self.text()?)));
        }
        if kind != ARRAY {
            return Ok(Some(Value::Number(self.number(key, kind)?)));
        }
        let kind = self.u32()?;
        if kind == TEXT {
            let count = self.count("strings", 8)?;
            return (0..count).map(|_| self.text()).collect::<Result<_, _>>().map(|texts| Some(Value::Texts(texts)));
        }
        let width = width(kind).ok_or_else(|| format!("{key}: an array of type {kind} is not read"))?;
        let count = self.count("numbers", width)?;
        if width < size_of::<f32>() {
            self.at += count * width;
            return Ok(None);
        }
        (0..count).map(|_| self.number(key, kind)).collect::<Result<_, _>>().map(|all| Some(Value::Numbers(all)))
    }

    fn number(&mut self, key: &str, kind: u32) -> Result<f64, String> {
        Ok(match kind {
            0 => f64::from(u8::from_le_bytes(self.array()?)),
            1 => f64::from(i8::from_le_bytes(self.array()?)),
            2 => f64::from(u16::from_le_bytes(self.array()?)),
            3 => f64::from(i16::from_le_bytes(self.array()?)),
            4 => f64::from(u32::from_le_bytes(self.array()?)),
            5 => f64::from(i32::from_le_bytes(self.array()?)),
            6 => f64::from(f32::from_le_bytes(self.array()?)),
            7 => f64::from(u8::from(self.array::<1>()?[0] != 0)),
            10 => u64::from_le_bytes(self.array()?) as f64,
            11 => i64::from_le_bytes(self.array()?) as f64,
            12 => f64::from_le_bytes(self.array()?),
            other => return Err(format!("{key}: type {other} is not known")),
        })
    }

    /// Name, kind, shape, and the offset behind the description.
    fn tensor(&mut self) -> Result<(String, Stored, Vec<usize>, usize), String> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if !(1..=DIMENSIONS).contains(&dimensions) {
            return Err(format!("tensor \"{name}\" has {dimensions} dimensions"));
        }
        let mut shape = (0..dimensions).map(|_| self.size()).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        let kind = self.u32()?;
        let stored = stored(kind).ok_or_else(|| {
            let kind =
                UNREAD.iter().find(|(known, _)| *known == kind).map_or_else(|| kind.to_string(), |it| it.1.into());
            format!("tensor \"{name}\" is stored as {kind}, which is not read; read are {READ}")
        })?;
        Ok((name, stored, shape, self.size()?))
    }
}

/// Bytes of a number of a type.
fn width(kind: u32) -> Option<usize> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

const READ: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K and Q6_K";
/// Kinds that are known by name alone.
const UNREAD: [(u32, &str); 13] = [
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

fn stored(kind: u32) -> Option<Stored> {
    Some(match kind {
        0 => Stored::F32,
        1 => Stored::F16,
        2 => Stored::Q4_0,
        3 => Stored::Q4_1,
        6 => Stored::Q5_0,
        7 => Stored::Q5_1,
        8 => Stored::Q8_0,
        10 => Stored::Q2K,
        11 => Stored::Q3K,
        12 => Stored::Q4K,
        13 => Stored::Q5K,
        14 => Stored::Q6K,
        30 => Stored::Bf16,
        _ => return None,
    })
}
