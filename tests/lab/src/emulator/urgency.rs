//! Being woken in time on a busy machine.

use std::num::NonZeroU64;

/// Asks for exact timers and for real-time priority, or where that is denied for the shortest
/// slice of time. Returns whether the priority was given.
pub(super) fn ask_for_realtime() -> bool {
    // A kernel that refuses exact timers shows in the lateness that the links report.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: it changes only the calling thread, and the structure lives through the call.
    let given = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &priority) == 0
    };
    if !given {
        ask_for_short_slice();
    }
    given
}

/// A thread that asks for a short slice runs for less at a time, but is run sooner; anyone may
/// ask (sched(7), EEVDF, Linux 6.12). Older kernels ignore it.
fn ask_for_short_slice() {
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice: 0,
        priority: 0,
        runtime_ns: SLICE_MIN_NS,
        deadline_ns: 0,
        period_ns: 0,
    };
    // SAFETY: it changes only the calling thread, and the structure, laid out as the kernel has
    // it and with its size in front, lives through the call.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// `struct sched_attr` of linux/sched/types.h, first version.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// The kernel's own minimum.
const SLICE_MIN_NS: u64 = 100_000;
