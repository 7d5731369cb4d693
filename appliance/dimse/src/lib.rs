//! The DICOM network: associations, C-ECHO, C-STORE in and out.
