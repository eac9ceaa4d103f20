//! Blocks that are several tasks: their values are collected.

use nix::sys::signal::Signal;

use super::{result_of, run_write};
use support::server::TestServer;

const SWEEP: &str = "#+name: params\n| lr | depth |\n|----+-------|\n| 1 | 3 |\n| 2 | 5 |\n| 4 | 2 |\n\n\
                     #+name: train\n#+begin_src python :each row=params :results value\n\
                     return row[0] * row[1]\n#+end_src\n\n\
                     #+name: best\n#+begin_src python :var t=train :results value\n\
                     return max(t, key=lambda row: row[-1])\n#+end_src\n\n\
                     #+name: lines\n#+begin_src sh :each lr depth=params :results output\n\
                     echo \"$BORGES_INDEX/$BORGES_INSTANCES: $lr $depth\"\n#+end_src\n\n\
                     #+name: shards\n#+begin_src sh :instances 3 :post total(t=*this*)\n\
                     echo $((BORGES_INDEX * 10))\n#+end_src\n\n\
                     #+name: total\n#+begin_src python :var t=0\n\
                     return sum(row[0] for row in t) if t else 0\n#+end_src\n\n\
                     #+name: called\n#+call: lines()\n";

#[test]
fn values_of_instances_are_collected_in_a_table() {
    let (document, run) = run_write(SWEEP);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(
        result_of(&document, "train"),
        "| lr | depth | train |\n|----+-------+-------|\n|  1 |     3 |     3 |\n|  2 |     5 |    10 |\n|  4 |     2 |     8 |\n"
    );
    assert_eq!(result_of(&document, "best"), "| 2 | 5 | 10 |\n");
    assert_eq!(result_of(&document, "lines"), ": 1/3: 1 3\n: 2/3: 2 5\n: 3/3: 4 2\n");
    assert_eq!(result_of(&document, "called"), result_of(&document, "lines"));
    assert_eq!(result_of(&document, "shards"), ": 60\n");
}

#[test]
fn failed_instance_is_named_and_the_others_are_kept() {
    let blocks = "#+name: n\n- 1\n- 2\n- 3\n\n#+name: f\n#+begin_src sh :each x=n\n\
                  [ \"$x\" != 2 ] && echo \"$((x * x))\"\n#+end_src\n\n\
                  #+name: g\n#+begin_src sh :var t=f\ntrue\n#+end_src\n";
    let mut server = TestServer::start();
    let run = server.submit(blocks);
    server.wait_for_state(&format!("{run}.4"), "skipped");
    server.wait_for_state(&format!("{run}.3"), "finished");
    // What was gathered once is gathered again from what is on disk.
    server.stop(Signal::SIGKILL);
    server.restart();
    let (_, document) = server.curl(&[], &format!("/org/{run}.org"));
    assert!(document.contains("#+attr_borges: :state failed :exit 1 :index 2\n"), "{document}");
    for row in ["| 1 | 1 |\n", "| 2 |   |\n", "| 3 | 9 |\n"] {
        assert!(document.contains(row), "{row} in {document}");
    }
    assert!(
        document.contains(":state skipped :message it requires `f:2` (line 7), which failed"),
        "{document}"
    );
}
