//! Any bytes are a document: reading and reporting them neither panics nor points outside of them, and the pieces of
//! its tree give them back.
#![no_main]

libfuzzer_sys::fuzz_target!(|source: &[u8]| {
    let document = borges_org::parse(source, &[]);
    let pieces = (0..document.tree.nodes().len()).map(|node| document.tree.own(node).to_vec());
    assert_eq!(pieces.collect::<Vec<_>>().concat(), source);
    let lines = source.split(|&byte| byte == b'\n').count();
    for block in &document.blocks {
        assert!(block.first_line <= block.begin_line && block.begin_line < block.end_line);
        assert!(block.end_line as usize <= lines);
    }
    assert!(borges_org::report("", source, &document).is_object());
});
