//! Any bytes are a document: reading and reporting them neither panics nor points outside of them, and what was
//! read gives them back.
#![no_main]

libfuzzer_sys::fuzz_target!(|source: &[u8]| {
    let document = borges::org::parse(source, &[]);
    assert_eq!(document.tree.print(), source);
    let lines = source.split(|&byte| byte == b'\n').count();
    for block in &document.blocks {
        assert!(block.first_line <= block.begin_line && block.begin_line < block.end_line);
        assert!(block.end_line as usize <= lines);
    }
    assert!(borges::org::report("", source, &document).is_object());
});
