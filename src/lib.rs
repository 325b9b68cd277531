//! A TFTP server for network booting.
