//! Any bytes are planned, or it is told what is wrong with them, on a line that they have.
#![no_main]

use borges_org::parse;
use borges_plan::{PlanOptions, plan};

libfuzzer_sys::fuzz_target!(|source: &[u8]| {
    let document = parse(source, &[]);
    let problems = match plan(source, &document, &PlanOptions::default()) {
        Ok(plan) => plan.warnings,
        Err(problems) => {
            assert!(!problems.is_empty());
            problems
        }
    };
    let lines = source.split(|&byte| byte == b'\n').count();
    for problem in problems {
        assert!((1..=lines).contains(&(problem.at.line as usize)), "{problem}");
        assert!(!problem.render("", source).is_empty());
    }
});
