//! A pickle machine for one purpose: state dicts that `PyTorch` saved. It knows the few opcodes
//! that they consist of and the few functions that they call, which describe tensors. Nothing is
//! imported or executed; any other opcode or name is an error.
//!
//! Values lie in an arena and refer to each other by index, so that neither nesting nor cycles in
//! a hostile file can exhaust the stack.

use std::collections::BTreeMap;

use super::MAX_DIMENSIONS;
use super::dtype::Dtype;

/// Opcodes of one pickle: far above those of the largest nets' state dicts.
const MAX_OPCODES: usize = 4_000_000;

/// What a state dict is made of.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A float, or an integer of more than eight bytes: nothing here needs their values.
    Other,
    Text(usize),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
    /// A pickle's own bookkeeping: the end of a list of arguments.
    Mark,
}

/// The functions and types that may be named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    StorageType(Dtype),
}

/// Numbers of one type, saved beside the pickle.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) dtype: Dtype,
    /// Its name among the file's storages, as a text of the arena: one name may be that of as many
    /// storages as a pickle has opcodes, so it is not copied for each.
    pub(super) key: usize,
    /// How many numbers it has.
    pub(super) count: u64,
}

/// A view of a storage.
#[derive(Clone, Debug)]
pub(super) struct TensorView {
    pub(super) storage: usize,
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

/// What a pickle said.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pub(super) texts: Vec<String>,
    pub(super) lists: Vec<Vec<Value>>,
    pub(super) dicts: Vec<Vec<(Value, Value)>>,
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<TensorView>,
}

impl Arena {
    /// The size of a view's numbers; `None` if it is beyond all bounds.
    pub(super) fn bytes_of(&self, view: usize) -> Option<u64> {
        let view = self.tensors.get(view)?;
        let width = self.storages.get(view.storage)?.dtype.bytes() as u64;
        let mut sizes = view.shape.iter();
        sizes.try_fold(width, |all, size| all.checked_mul(*size))
    }

    fn text(&mut self, text: &str) -> Value {
        self.texts.push(text.to_owned());
        Value::Text(self.texts.len() - 1)
    }

    fn tuple(&mut self, items: Vec<Value>) -> Value {
        self.lists.push(items);
        Value::Tuple(self.lists.len() - 1)
    }

    fn dict(&mut self, entries: Vec<(Value, Value)>) -> Value {
        self.dicts.push(entries);
        Value::Dict(self.dicts.len() - 1)
    }

    /// The name of a storage.
    pub(super) fn key(&self, storage: &Storage) -> &str {
        self.texts.get(storage.key).map_or("", String::as_str)
    }

    /// The text of a value, if it is one.
    pub(super) fn as_text(&self, value: &Value) -> Option<&str> {
        let Value::Text(at) = value else {
            return None;
        };
        self.texts.get(*at).map(String::as_str)
    }

    /// The items of a tuple or list.
    pub(super) fn as_items(&self, value: &Value) -> Option<&[Value]> {
        let (Value::Tuple(at) | Value::List(at)) = value else {
            return None;
        };
        self.lists.get(*at).map(Vec::as_slice)
    }

    /// The entries of a dict.
    pub(super) fn as_dict(&self, value: &Value) -> Option<&[(Value, Value)]> {
        let Value::Dict(at) = value else {
            return None;
        };
        self.dicts.get(*at).map(Vec::as_slice)
    }
}

/// Reads one pickle from the front of `bytes` and moves `bytes` behind it. On failure the text
/// says what was found where.
pub(super) fn read(arena: &mut Arena, bytes: &mut &[u8]) -> Result<Value, String> {
    let mut machine = Machine {
        arena,
        rest: bytes,
        length: bytes.len(),
        stack: Vec::new(),
        memo: BTreeMap::new(),
    };
    for _ in 0..MAX_OPCODES {
        let at = machine.length - machine.rest.len();
        let done = machine
            .opcode()
            .map_err(|problem| format!("{problem} at byte {at} of the pickle"))?;
        if let Some(value) = done {
            *bytes = machine.rest;
            return Ok(value);
        }
    }
    Err(format!(
        "expected at most {MAX_OPCODES} opcodes, found more"
    ))
}

struct Machine<'a, 'b> {
    arena: &'a mut Arena,
    rest: &'b [u8],
    length: usize,
    stack: Vec<Value>,
    memo: BTreeMap<u32, Value>,
}

impl<'b> Machine<'_, 'b> {
    /// Carries out the next opcode; the pickle's value at its end.
    fn opcode(&mut self) -> Result<Option<Value>, String> {
        let opcode = self.take(1)?[0];
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => self.skip(1)?, // PROTO
            0x95 => self.skip(8)?, // FRAME
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' | b'K' | b'M' | 0x8a => self.integer(opcode)?,
            b'G' => {
                self.skip(8)?;
                self.push(Value::Other);
            }
            b'X' | 0x8c | b'T' | b'U' => self.string(opcode)?,
            b'(' => self.push(Value::Mark),
            b')' | b't' | 0x85..=0x87 => self.tuple(opcode)?,
            b'}' => {
                let dict = self.arena.dict(Vec::new());
                self.push(dict);
            }
            b']' => {
                self.arena.lists.push(Vec::new());
                self.push(Value::List(self.arena.lists.len() - 1));
            }
            b'a' | b'e' => self.append(opcode)?,
            b's' | b'u' => self.set_items(opcode)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(opcode)?,
            b'c' => self.global()?,
            0x93 => self.stack_global()?,
            b'Q' => self.persistent()?,
            b'R' => self.call()?,
            // BUILD: attributes of a dict, such as version numbers.
            b'b' => {
                self.pop()?;
            }
            other => {
                return Err(format!(
                    "expected an opcode that state dicts have, found {other:#04x}"
                ));
            }
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], String> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| format!("expected {count} bytes, found the end"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Result<(), String> {
        self.take(count).map(drop)
    }

    /// A little-endian unsigned number of so many bytes, at most eight.
    fn number(&mut self, bytes: usize) -> Result<u64, String> {
        let taken = self.take(bytes)?;
        Ok(taken
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn length(&mut self, bytes: usize) -> Result<usize, String> {
        let length = self.number(bytes)?;
        usize::try_from(length).map_err(|_large| format!("expected a length, found {length}"))
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    fn pop(&mut self) -> Result<Value, String> {
        match self.stack.pop() {
            Some(Value::Mark) | None => Err("expected a value on the stack, found none".to_owned()),
            Some(value) => Ok(value),
        }
    }

    /// The values since the last mark, which goes too.
    fn pop_to_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self
            .stack
            .iter()
            .rposition(|value| matches!(value, Value::Mark))
            .ok_or("expected a mark on the stack, found none")?;
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(values)
    }

    fn integer(&mut self, opcode: u8) -> Result<(), String> {
        let signed = |value: u64| i64::from(u32::try_from(value).unwrap_or(0).cast_signed());
        let value = match opcode {
            b'J' => Value::Int(signed(self.number(4)?)),
            b'K' => Value::Int(self.number(1)?.cast_signed()),
            b'M' => Value::Int(self.number(2)?.cast_signed()),
            _ => {
                let length = self.length(1)?;
                if length > 8 {
                    self.skip(length)?;
                    Value::Other
                } else {
                    let value = self.number(length)?;
                    // The top bit of the highest byte is the sign.
                    let unused = 64 - 8 * length;
                    let value = value.checked_shl(u32::try_from(unused).unwrap_or(64));
                    Value::Int(value.unwrap_or(0).cast_signed() >> unused.min(63))
                }
            }
        };
        self.push(value);
        Ok(())
    }

    fn string(&mut self, opcode: u8) -> Result<(), String> {
        let length = self.length(if matches!(opcode, b'X' | b'T') { 4 } else { 1 })?;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|_other| "expected text in UTF-8, found other bytes".to_owned())?;
        let value = self.arena.text(text);
        self.push(value);
        Ok(())
    }

    fn tuple(&mut self, opcode: u8) -> Result<(), String> {
        let items = match opcode {
            b')' => Vec::new(),
            b't' => self.pop_to_mark()?,
            _ => {
                let mut items = Vec::new();
                for _ in 0..opcode - 0x84 {
                    items.push(self.pop()?);
                }
                items.reverse();
                items
            }
        };
        let tuple = self.arena.tuple(items);
        self.push(tuple);
        Ok(())
    }

    fn append(&mut self, opcode: u8) -> Result<(), String> {
        let items = if opcode == b'e' {
            self.pop_to_mark()?
        } else {
            vec![self.pop()?]
        };
        match self.stack.last() {
            Some(Value::List(at)) => self.arena.lists[*at].extend(items),
            other => return Err(format!("expected a list to append to, found {other:?}")),
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Result<(), String> {
        let items = if opcode == b'u' {
            self.pop_to_mark()?
        } else {
            let value = self.pop()?;
            vec![self.pop()?, value]
        };
        if !items.len().is_multiple_of(2) {
            return Err("expected keys with values, found a key without one".to_owned());
        }
        match self.stack.last() {
            Some(Value::Dict(at)) => {
                let entries = items.chunks_exact(2);
                let entries = entries.map(|pair| (pair[0].clone(), pair[1].clone()));
                self.arena.dicts[*at].extend(entries);
            }
            other => return Err(format!("expected a dict to fill, found {other:?}")),
        }
        Ok(())
    }

    fn memo(&mut self, opcode: u8) -> Result<(), String> {
        let key = match opcode {
            b'q' | b'h' => self.number(1)?,
            b'r' | b'j' => self.number(4)?,
            _ => self.memo.len() as u64,
        };
        let key = u32::try_from(key).unwrap_or(u32::MAX);
        if matches!(opcode, b'h' | b'j') {
            let value = self.memo.get(&key).cloned();
            self.push(value.ok_or_else(|| format!("expected a value under {key}, found none"))?);
        } else {
            let top = self.stack.last().cloned();
            let top = top.ok_or("expected a value on the stack, found none")?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    fn line(&mut self) -> Result<&'b str, String> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or("expected the end of a line, found none")?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end])
            .map_err(|_other| "expected a name in UTF-8, found other bytes".to_owned())
    }

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        let value = named(module, name)?;
        self.push(value);
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (module, name) = (self.arena.as_text(&module), self.arena.as_text(&name));
        let value = named(module.unwrap_or("?"), name.unwrap_or("?"))?;
        self.push(value);
        Ok(())
    }

    /// A storage: ("storage", its type, its key, its device, how many numbers, …).
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let arena = &mut *self.arena;
        let storage = match arena.as_items(&id) {
            Some(
                [
                    kind,
                    Value::Global(Global::StorageType(dtype)),
                    key,
                    _,
                    Value::Int(count),
                    ..,
                ],
            ) if arena.as_text(kind) == Some("storage") => Storage {
                dtype: *dtype,
                key: {
                    let Value::Text(at) = key else {
                        return Err("expected the key of a storage, found another value".to_owned());
                    };
                    *at
                },
                count: u64::try_from(*count)
                    .map_err(|_negative| format!("expected a size, found {count}"))?,
            },
            _ => return Err("expected the id of a storage, found another".to_owned()),
        };
        arena.storages.push(storage);
        self.push(Value::Storage(self.arena.storages.len() - 1));
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Global(function) = function else {
            return Err(format!("expected a function to call, found {function:?}"));
        };
        let arguments = self.arena.as_items(&arguments).unwrap_or(&[]);
        let value = match (function, arguments) {
            (Global::OrderedDict, []) => self.arena.dict(Vec::new()),
            (Global::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => tensor.clone(),
            (
                Global::RebuildTensor,
                [
                    Value::Storage(storage),
                    Value::Int(offset),
                    shape,
                    strides,
                    ..,
                ],
            ) => {
                let view = TensorView {
                    storage: *storage,
                    offset: size(&Value::Int(*offset))?,
                    shape: self.sizes(shape)?,
                    strides: self.sizes(strides)?,
                };
                self.arena.tensors.push(view);
                Value::Tensor(self.arena.tensors.len() - 1)
            }
            (function, _) => {
                return Err(format!(
                    "expected the arguments of {function:?}, found others"
                ));
            }
        };
        self.push(value);
        Ok(())
    }

    fn sizes(&self, value: &Value) -> Result<Vec<u64>, String> {
        let items = self.arena.as_items(value);
        let items = items.ok_or("expected sizes, found another value")?;
        // One tuple may be named by many tensors: a long one is not copied for each.
        if items.len() > MAX_DIMENSIONS {
            let found = items.len();
            return Err(format!(
                "expected at most {MAX_DIMENSIONS} dimensions, found {found}"
            ));
        }
        items.iter().map(size).collect()
    }
}

fn size(value: &Value) -> Result<u64, String> {
    let number = if let Value::Int(number) = value {
        u64::try_from(*number).ok()
    } else {
        None
    };
    number.ok_or_else(|| format!("expected a size of at least 0, found {value:?}"))
}

/// The functions and types that state dicts name.
fn named(module: &str, name: &str) -> Result<Value, String> {
    let global = match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
        ("torch" | "torch.storage", storage) => Dtype::of_storage(storage).map(Global::StorageType),
        _ => None,
    };
    global.map(Value::Global).ok_or_else(|| {
        format!("expected a state dict of plain tensors, found {module}.{name}, which is not read")
    })
}

#[cfg(test)]
mod tests;
