"""Episodes that the benchmarks' protocol draws from given lists, written down once.

They were not computed by this package. One line an episode: ways, shots, index, query,
and the supports of each class in the order drawn.
"""

from __future__ import annotations

import pytest

from cstlib.data.lists import images_by_class
from cstlib.data.sampler import (
    draw_coco_episode,
    draw_pascal_episode,
    read_list,
    write_list,
)

# number/class, for lines like 2030_004891__02
PASCAL_LIST = """
004891/2 008896/5 020621/3 069555/5 071530/5 075247/2 075247/3 101633/2 102768/2
105613/2 110709/2 110709/5 136597/2 136597/4 137229/1 137229/2 192099/2 192099/3
198055/4 254296/1 263163/2 263163/4 305649/2 306064/5 345912/4 351529/3 366848/1
393055/5 417745/1 483804/2 490916/4 490916/5 518170/3 525808/1 530072/3 538972/3
538972/4 589693/2 620472/1 620472/3 717658/2 864288/3 867476/4 894570/5 908938/3
922539/2 925217/3 925217/4 959666/5 985750/5
"""
COCO_LISTS = {
    1: "854923 356387 889045 268508 670513 482376 696537 945186 931083",
    5: "455257 501240 433625 604859 496516 282197 320733 120576 597944",
    9: "285790 476845 838599 435041 784610 948373 664738 546554 589550",
    13: "269853 573866 422663 683742 640670 632140 063435 194038 754855",
    17: "356153 542965 584935 739180 810668 483605 116830 041513 454343",
    21: "959196 394274 885391 971030 034605 602404 896936 341594 735796",
}
PASCAL_EPISODES = """
1 1 0 004891 2:075247
1 1 1 008896 4:925217
1 1 2 020621 3:908938
1 1 57 101633 1:254296
1 1 999 985750 5:071530
2 1 0 004891 2:305649 3:192099
2 1 1 008896 4:263163 5:985750
2 1 2 020621 3:518170 1:417745
2 1 57 101633 1:525808 2:922539
2 1 999 985750 5:071530 1:137229
1 5 0 004891 2:075247,101633,105613,717658,305649
1 5 1 008896 4:925217,345912,198055,136597,263163
1 5 2 020621 3:908938,075247,538972,530072,620472
1 5 57 101633 1:254296,366848,620472,417745,525808
1 5 999 985750 5:071530,490916,894570,008896,110709
3 2 0 004891 2:192099,483804 3:192099,075247 4:345912,925217
3 2 1 008896 4:263163,345912 5:894570,985750 1:417745,620472
3 2 2 020621 3:908938,075247 1:525808,620472 4:345912,538972
3 2 57 101633 1:620472,366848 2:102768,192099 3:075247,020621
3 2 999 985750 5:071530,008896 1:525808,417745 3:908938,530072
"""
COCO_EPISODES = """
1 1 0 971030 21:885391
1 1 1 838599 9:476845
1 1 2 810668 17:542965
1 1 57 433625 9:546554
1 1 999 838599 9:476845
2 1 0 971030 21:885391 9:784610
2 1 1 838599 9:948373 13:194038
2 1 2 810668 17:483605 1:945186
2 1 57 433625 9:948373 5:320733
2 1 999 838599 9:285790 17:584935
1 5 0 971030 21:885391,602404,034605,735796,896936
1 5 1 838599 9:476845,546554,664738,589550,948373
1 5 2 810668 17:542965,454343,041513,483605,116830
1 5 57 433625 9:546554,435041,476845,285790,589550
1 5 999 838599 9:476845,784610,948373,664738,589550
3 2 0 971030 21:602404,034605 17:454343,739180 1:931083,670513
3 2 1 838599 9:546554,664738 17:454343,041513 5:320733,282197
3 2 2 810668 17:454343,041513 5:455257,320733 13:632140,573866
3 2 57 433625 9:435041,546554 5:501240,455257 21:341594,735796
3 2 999 838599 9:784610,948373 17:483605,116830 1:931083,356387
"""


def parse(line: str, name: str) -> tuple:
    """An episode's line; ``name`` is the pattern of an image's full name."""
    way, shot, index, query, *rows = line.split()
    pairs = [row.split(":") for row in rows]
    supports = tuple(tuple(map(name.format, names.split(","))) for _, names in pairs)
    classes = tuple(int(c) for c, _ in pairs)
    return int(way), int(shot), int(index), name.format(query), classes, supports


@pytest.mark.parametrize("line", PASCAL_EPISODES.strip().splitlines())
def test_pascal(line, tmp_path):
    words = [word.split("/") for word in PASCAL_LIST.split()]
    path = tmp_path / "fold0.txt"
    write_list(path, [(f"2030_{number}", int(c)) for number, c in words])
    entries = read_list(path)
    images = images_by_class(entries, range(1, 6))
    way, shot, index, *expected = parse(line, "2030_{}")
    plan = draw_pascal_episode(entries, images, index, way, shot)
    assert [plan.query, plan.support_classes, plan.supports] == expected
    assert plan.query_class == entries[index % len(entries)][1]


@pytest.mark.parametrize("line", COCO_EPISODES.strip().splitlines())
def test_coco(line):
    name = "val2014/made_{}.jpg"
    images = {
        c: [name.format(number) for number in numbers.split()]
        for c, numbers in COCO_LISTS.items()
    }
    way, shot, index, *expected = parse(line, name)
    plan = draw_coco_episode(images, index, way, shot)
    assert [plan.query, plan.support_classes, plan.supports] == expected
    assert plan.query in images[plan.query_class]
