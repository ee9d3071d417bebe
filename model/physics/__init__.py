"""How light becomes counts: PSFs, cameras, and the limit that both set.

Order of imports: crlb, pupil, smap > psf_file > camera, matlab_reader, psf.
"""
