"""SBD's .mat files, against files that scipy wrote."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from made import is_one_sentence
from made_benchmarks import box_mask, mat_bytes

from cstlib.data.matfile import read_struct_field
from cstlib.errors import CstlibError

# scipy.io.savemat of GTcls = {Boundaries: a cell with a sparse matrix, Segmentation:
# arange(12).reshape(3, 4) % 5 as uint8, CategoriesPresent}, plain and compressed,
# without the header's 116 bytes of text.
PLAIN = (
    "000000000000Bu&4gdfEm;nF)1^@s62mk;80ssI2000001poj52mk;80RR910RR910RR911poj5M^s~Ma"
    "{vGU1pov95&!@I0RR91HUIzsLT`0$WMOh?Wpe-k00000002{EXKiI}bYXO9Z*Bkp00000Lt%7fXK!+8Wp"
    "hw+Wpib2bN~PV4gdfEm;e9(1^@s62mk;80RR91000001poj52mk;80RR910RR910RR91000004gdfEXaE"
    "2J1^@s62mk;81poj50ssI21poj52mk;80ssI20ssI20RR91000001poj52mk;8000000RR911poj53;+N"
    "C000000RR910ssI2000002><{95C8xG00000008hm00000008hm4gdfEKmY&$1^@s62mk;82><{900000"
    "1poj52mk;80{{R31ONa40RR91000000ssI23;+NC00aX800aU700RO6000004gdfEFaQ7m1^@s62mk;82"
    "><{9000001poj52mk;80RR910ssI20RR91000000ssO40RjL3"
)
COMPRESSED = (
    "000000000000Bu&4*&oFtpET3c$|GtK?=e!5S&d@u^>f!i6^g$9=r<rfuNxlYyxfli_i24Zfur@9vT>uo"
    "eVRxC4dhB3%-{Oh2i9JrUZdI-|nyO|JK+<e#bcaw|khjwp}#9)mDvlz3FT32IgdXTlt{5w6^0v=E{(dF`"
    "s7g5%teRpU2LkR}oVmBs;8<S@ta$YpIU!Uha^0Nb-t_Z^qC`o)UkZ5ws#?ilp~;#z(r0J_^Ld4<D!(;s"
)
SEGMENTATION = np.arange(12).reshape(3, 4) % 5


@pytest.mark.parametrize("code", [PLAIN, COMPRESSED])
def test_reads_what_scipy_wrote(tmp_path, code):
    path = tmp_path / "image.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + base64.b85decode(code))
    found = read_struct_field(path, "GTcls", "Segmentation")
    assert found.dtype == np.uint8 and np.array_equal(found, SEGMENTATION)
    assert read_struct_field(path, "GTcls", "CategoriesPresent").tolist() == [[1, 2]]
    for variable, field in (("GTinst", "Segmentation"), ("GTcls", "Nothing")):
        with pytest.raises(CstlibError) as caught:
            read_struct_field(path, variable, field)
        assert is_one_sentence(caught.value)


def test_made_files_are_of_the_same_format(tmp_path):
    mask = box_mask((3, 40), (20, 7000))
    for compressed in (False, True):
        path = tmp_path / "image.mat"
        path.write_bytes(mat_bytes(mask, compressed))
        assert np.array_equal(read_struct_field(path, "GTcls", "Segmentation"), mask)


@pytest.mark.parametrize("keep", [0, 100, 128, 150, -3])
def test_a_truncated_file_is_one_sentence(tmp_path, keep):
    path = tmp_path / "image.mat"
    for compressed in (False, True):
        path.write_bytes(mat_bytes(box_mask((3, 40)), compressed)[:keep])
        with pytest.raises(CstlibError, match="image.mat") as caught:
            read_struct_field(path, "GTcls", "Segmentation")
        assert is_one_sentence(caught.value)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(CstlibError, match="is missing") as caught:
        read_struct_field(tmp_path / "none.mat", "GTcls", "Segmentation")
    assert is_one_sentence(caught.value)
