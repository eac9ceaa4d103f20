//! Signal numbers and the names that Mesos gives them.

/// What strsignal(3) says of Linux's signals, from 1 on.
const NAMES: [&str; 31] = [
    "Hangup",
    "Interrupt",
    "Quit",
    "Illegal instruction",
    "Trace/breakpoint trap",
    "Aborted",
    "Bus error",
    "Floating point exception",
    "Killed",
    "User defined signal 1",
    "Segmentation fault",
    "User defined signal 2",
    "Broken pipe",
    "Alarm clock",
    "Terminated",
    "Stack fault",
    "Child exited",
    "Continued",
    "Stopped (signal)",
    "Stopped",
    "Stopped (tty input)",
    "Stopped (tty output)",
    "Urgent I/O condition",
    "CPU time limit exceeded",
    "File size limit exceeded",
    "Virtual timer expired",
    "Profiling timer expired",
    "Window changed",
    "I/O possible",
    "Power failure",
    "Bad system call",
];

/// The name of a signal; `None` for one without, such as a real-time one.
pub fn name(signal: i32) -> Option<&'static str> {
    usize::try_from(signal).ok().and_then(|signal| NAMES.get(signal.checked_sub(1)?)).copied()
}

/// The signal of this name.
pub fn number(name: &str) -> Option<i32> {
    let place = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(place + 1).ok()
}
