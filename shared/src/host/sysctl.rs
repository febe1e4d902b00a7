//! Kernel parameters below /proc/sys.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{HostError, Result};

/// The path of a parameter of one interface, as [`read_sysctl`] wants it.
///
/// `sysctl_path("ipv4", "eth0.7", "rp_filter")` is `net/ipv4/conf/eth0.7/rp_filter`: with slashes,
/// since names of interfaces may have dots.
pub fn sysctl_path(family: &str, interface: &str, parameter: &str) -> String {
    format!("net/{family}/conf/{interface}/{parameter}")
}

/// The value of a parameter; none when this kernel, or this interface, has no such parameter.
///
/// # Errors
/// When it can't be read.
pub fn read_sysctl(path: &str) -> Result<Option<String>> {
    match fs::read_to_string(file(path)?) {
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::system(format!("read the sysctl {path}"), error)),
    }
}

pub(super) fn write_sysctl(path: &str, value: &str) -> Result<()> {
    fs::write(file(path)?, value)
        .map_err(|error| HostError::system(format!("set the sysctl {path} to {value}"), error))
}

fn file(path: &str) -> Result<PathBuf> {
    let path = Path::new(path);
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(Path::new("/proc/sys").join(path));
    }
    let error = std::io::Error::from(std::io::ErrorKind::InvalidInput);
    Err(HostError::system(format!("the sysctl `{}`", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_proc_sys() {
        assert!(file("net/ipv4/conf/eth0.7/rp_filter").is_ok());
        assert!(file("../kmsg").is_err());
        assert!(file("/etc/passwd").is_err());
    }

    #[test]
    fn a_missing_parameter_is_none() {
        assert_eq!(read_sysctl("net/ipv4/conf/no-such-interface/rp_filter").unwrap(), None);
        assert!(read_sysctl("net/ipv4/ip_forward").unwrap().is_some());
    }
}
