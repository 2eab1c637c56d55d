use super::*;

fn reads(bytes: &[u8]) -> Result<(Value, Arena), String> {
    let mut arena = Arena::default();
    let value = read(&mut arena, &mut &bytes[..])?;
    Ok((value, arena))
}

#[test]
fn whole_numbers_of_every_form_are_read() {
    let int = |bytes: &[u8]| {
        let value = reads(bytes).unwrap().0;
        let Value::Int(number) = value else {
            panic!("{value:?}");
        };
        number
    };
    assert_eq!(int(b"K\xff."), 255);
    assert_eq!(int(b"M\x01\x02."), 0x201);
    assert_eq!(int(b"J\xff\xff\xff\xff."), -1);
    assert_eq!(int(b"\x8a\x00."), 0);
    assert_eq!(int(b"\x8a\x01\xff."), -1);
    assert_eq!(int(b"\x8a\x02\x00\x7f."), 0x7f00);
    assert_eq!(
        int(b"\x8a\x08\x01\x00\x00\x00\x00\x00\x00\x80."),
        i64::MIN + 1
    );
}

#[test]
fn nothing_but_what_describes_tensors_can_be_named_or_called() {
    let refused = |bytes: &[u8]| reads(bytes).unwrap_err();
    let system = refused(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.");
    assert!(system.contains("os.system, which is not read"), "{system}");
    assert!(refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93.").contains("os.system"));
    assert!(refused(b"cbuiltins\neval\n.").contains("builtins.eval"));
    assert!(refused(b"ctorch\nload\n.").contains("torch.load"));
    // INST, OBJ, NEWOBJ and REDUCE of what is no function.
    for bytes in [&b"(ios\nsystem\n."[..], b"(o.", b"))\x81.", b"K\x01)R."] {
        refused(bytes);
    }
}

#[test]
fn damaged_pickles_are_errors_wherever_they_end() {
    let whole = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00bK\x02u.";
    let (value, arena) = reads(whole).unwrap();
    let entries = arena.as_dict(&value).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(arena.as_text(&entries[1].0), Some("b"));
    for end in 0..whole.len() {
        assert!(reads(&whole[..end]).is_err(), "cut at {end}");
    }
    for bytes in [
        &b"."[..],
        b"u.",
        b"s.",
        b"a.",
        b"t.",
        b"\x87.",
        b"h\x00.",
        b"Q.",
        b"(.",
    ] {
        assert!(reads(bytes).is_err(), "{bytes:?}");
    }
}

/// A value that is nested deep or contains itself is dropped without recursion.
#[test]
fn deep_and_cyclic_values_are_harmless() {
    let mut deep = vec![b']'; 1_000_000];
    deep.extend(vec![b'a'; 999_999]);
    deep.push(b'.');
    reads(&deep).unwrap();
    reads(b"]q\x00h\x00a.").unwrap();
}
