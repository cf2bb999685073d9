"""The native operators: one wrapper, one fake and one gradient a file; torch chooses the device."""
