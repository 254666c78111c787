"""Published split lists, identified by the hash of their ids.

Counts and hashes of the lists in the `splits/` folders of the public repositories
LiheYoung/UniMatch and LiheYoung/UniMatch-V2 (both MIT); `voc-blended-*` are the lists of CPS,
`voc-priority-*` those of U2PL, `cityscapes-*` those of CPS. The lists themselves are not here.
"""

from dataclasses import dataclass

UNIMATCH = "https://raw.githubusercontent.com/LiheYoung/UniMatch/main/splits/"
UNIMATCH_V2 = "https://raw.githubusercontent.com/LiheYoung/UniMatch-V2/main/splits/"


@dataclass(frozen=True)
class PublishedList:
    """A published list of ids.

    Attributes:
        home: URL of the folder that holds all lists.
        path: path of the list below it.
        count: number of ids.
        sha256: hash of the sorted, newline-joined ids.
    """

    home: str
    path: str
    count: int
    sha256: str


def _v1(path: str, count: int, sha256: str) -> PublishedList:
    return PublishedList(UNIMATCH, path, count, sha256)


def _v2(path: str, count: int, sha256: str) -> PublishedList:
    return PublishedList(UNIMATCH_V2, path, count, sha256)


# Protocol -> its lists; a list without ground truth is `unlabeled`.
PROTOCOLS: dict[str, dict[str, PublishedList]] = {
    "ade20k-1_2": {
        "labeled": _v2(
            "ade20k/1_2/labeled.txt",
            10105,
            "8301d71e4b6e65d707348dcb468f3e486262d5cb3230ea1ef36bbf3131a1d8db",
        ),  # fmt: skip
        "unlabeled": _v2(
            "ade20k/1_2/unlabeled.txt",
            10105,
            "3926c2b370abd44ddd4b28642ac0f438bf762fcc4db72613f32f8c5e1854bb04",
        ),  # fmt: skip
    },
    "ade20k-1_4": {
        "labeled": _v2(
            "ade20k/1_4/labeled.txt",
            5052,
            "6b91b27c9fdc7ad83e0aa854465ac96e0886047e72daa720b3efeed562c32cc8",
        ),  # fmt: skip
        "unlabeled": _v2(
            "ade20k/1_4/unlabeled.txt",
            15158,
            "b70b8ef84941a6cb6a64a148c6951de83908c94cc7b9451285e7a14d9aabb39f",
        ),  # fmt: skip
    },
    "ade20k-1_8": {
        "labeled": _v2(
            "ade20k/1_8/labeled.txt",
            2526,
            "dda7634ecffd1e2e19dd178b16ea7254583a301bc1d6237c0e529d6b88a49128",
        ),  # fmt: skip
        "unlabeled": _v2(
            "ade20k/1_8/unlabeled.txt",
            17684,
            "6e542244ceb6c3a0535b1a3a242d297040a9d64e1f106cc27aa108ff785a117f",
        ),  # fmt: skip
    },
    "ade20k-1_16": {
        "labeled": _v2(
            "ade20k/1_16/labeled.txt",
            1263,
            "d8fe7e5e32582782d363ee3db89ea8c5e6b1a4cb89357290381ba8421ff97d21",
        ),  # fmt: skip
        "unlabeled": _v2(
            "ade20k/1_16/unlabeled.txt",
            18947,
            "5ba38ad8455b1f9e4b37dae48fb4454eccc5446dae8e6383f9075bd5dd9eab92",
        ),  # fmt: skip
    },
    "ade20k-1_32": {
        "labeled": _v2(
            "ade20k/1_32/labeled.txt",
            631,
            "4a2428d73c5eea4768885acb5d5a78cee732f51f6d65e6f1ea6c40e1349d2e7a",
        ),  # fmt: skip
        "unlabeled": _v2(
            "ade20k/1_32/unlabeled.txt",
            19579,
            "40d7be1bf35c5baea74897bc1f9ff525812d1bd6056f58455459d194a13a418f",
        ),  # fmt: skip
    },
    "ade20k-1_64": {
        "labeled": _v2(
            "ade20k/1_64/labeled.txt",
            316,
            "a18f9332ac059d5f4062c8a264d4b5acdceeb555ee92a48880676b8f72ae7349",
        ),  # fmt: skip
        "unlabeled": _v2(
            "ade20k/1_64/unlabeled.txt",
            19894,
            "877f24e555c807a52a5abce71dcbdd3d9d18909033c0cda06840bafd8dfec643",
        ),  # fmt: skip
    },
    "ade20k-all": {
        "labeled": _v2(
            "ade20k/all/labeled.txt",
            20210,
            "5812d1749bb33a21c520f8b5c61245f4f5c0212fcb89bba9e3e3803c4ad5297a",
        ),  # fmt: skip
    },
    "ade20k-val": {
        "labeled": _v2(
            "ade20k/val.txt",
            2000,
            "ea1c90a7ccd457dda9514cc222d606241e61d58a5ba75215d5ceff95f1557a36",
        ),  # fmt: skip
    },
    "cityscapes-1_2": {
        "labeled": _v1(
            "cityscapes/1_2/labeled.txt",
            1488,
            "2b3183629a3a9f1a1e9b4a8eb3296e53c957a0aa4d4f986a2b29aa9da339deef",
        ),  # fmt: skip
        "unlabeled": _v1(
            "cityscapes/1_2/unlabeled.txt",
            1487,
            "6f7c0b1fb101525b428734c6dcdeabbf227396566f3b6a6fc4b9d982d5aedba6",
        ),  # fmt: skip
    },
    "cityscapes-1_4": {
        "labeled": _v1(
            "cityscapes/1_4/labeled.txt",
            744,
            "6856046a4415296a575f0fa65ec9757c6c26cc1044d4e93534b01b60921e2b80",
        ),  # fmt: skip
        "unlabeled": _v1(
            "cityscapes/1_4/unlabeled.txt",
            2231,
            "e4e4be16eefac6fcb9a416288c244ec410785d1154e7e813bf690a75f6276526",
        ),  # fmt: skip
    },
    "cityscapes-1_8": {
        "labeled": _v1(
            "cityscapes/1_8/labeled.txt",
            372,
            "6b3b52bab110157aaefa270df014ee4d3a035330c575e2386a5cc635ee01df63",
        ),  # fmt: skip
        "unlabeled": _v1(
            "cityscapes/1_8/unlabeled.txt",
            2603,
            "f46ba729eeb2f706224cb137beae282edcfd4e6619064a6c7f59035102db36e3",
        ),  # fmt: skip
    },
    "cityscapes-1_16": {
        "labeled": _v1(
            "cityscapes/1_16/labeled.txt",
            186,
            "1e5363dd012cdc467f638ea0ab2cd0315cc7243146c81b47e12e9bb97c50266c",
        ),  # fmt: skip
        "unlabeled": _v1(
            "cityscapes/1_16/unlabeled.txt",
            2789,
            "61bcee728accc752a3b1c781c26da44dc1db73b9b94048a13e918927c33510e9",
        ),  # fmt: skip
    },
    "cityscapes-1_30": {
        "labeled": _v1(
            "cityscapes/1_30/labeled.txt",
            100,
            "c4164038958f8c8e792f7049a650cd9e648cab8816e0ae687914255345f9469d",
        ),  # fmt: skip
        "unlabeled": _v1(
            "cityscapes/1_30/unlabeled.txt",
            2875,
            "2c309fca6636bad2076608fe9e9a02308eef7a921b65af2d142393c8b5bc2ca2",
        ),  # fmt: skip
    },
    "cityscapes-all": {
        "labeled": _v2(
            "cityscapes/all/train.txt",
            2975,
            "356596e69da79ecbd3f6301dc68c0244fc777bdc7cea8fdc02b169d4b7da3c4a",
        ),  # fmt: skip
        "unlabeled": _v2(
            "cityscapes/all/unlabeled.txt",
            19998,
            "1c1e9f4c5fa55d52bc7479b0205aef0820797c5d45323b0f36a135b1af616ac1",
        ),  # fmt: skip
    },
    "cityscapes-val": {
        "labeled": _v1(
            "cityscapes/val.txt",
            500,
            "9e85f1e65cf6030bacb9336142ddae80c28f66b89526cce603a272f32ac35af6",
        ),  # fmt: skip
    },
    "coco-1_32": {
        "labeled": _v1(
            "coco/1_32/labeled.txt",
            3697,
            "3410484b2537220155eaed47112df3fa8a88fde40f9d2fea8ce03152c0099a5c",
        ),  # fmt: skip
    },
    "coco-1_64": {
        "labeled": _v1(
            "coco/1_64/labeled.txt",
            1849,
            "67e1fa5b00095d68e9e7b811e8590c95314ff5ab96b55b11dd4b17976536e805",
        ),  # fmt: skip
    },
    "coco-1_128": {
        "labeled": _v1(
            "coco/1_128/labeled.txt",
            925,
            "92eb3929f14c6eab21abdeb1acc1c42635d141fb8c08c1a59dea677998e5a9d7",
        ),  # fmt: skip
    },
    "coco-1_256": {
        "labeled": _v1(
            "coco/1_256/labeled.txt",
            463,
            "d89f8cf50e276af374dd5112996d4a3a16e035c7f803ff99c513e8ee296597d2",
        ),  # fmt: skip
    },
    "coco-1_512": {
        "labeled": _v1(
            "coco/1_512/labeled.txt",
            232,
            "7a80d0605a2a43838cb7d3c3a90aa7258d597f0556e45dd1ba504a5a5ebb3a10",
        ),  # fmt: skip
    },
    "coco-val": {
        "labeled": _v1(
            "coco/val.txt",
            5000,
            "3b4ea1d567a37f2d71549dd28f1783abf45270b84cffcee2acb008006fdf9d7f",
        ),  # fmt: skip
    },
    "voc-all": {
        "labeled": _v2(
            "pascal/all/labeled.txt",
            10582,
            "855dff350b7f447bf43cb98ea626a32e0d0b3b7c5786e03b2712a21355b635bf",
        ),  # fmt: skip
    },
    "voc-blended-1_4": {
        "labeled": _v1(
            "pascal/1_4/labeled.txt",
            2646,
            "fd0e8dca3dac524cf3b8c2b8540bc67bac1fb5df93e562faf35232e90c444295",
        ),  # fmt: skip
        "unlabeled": _v1(
            "pascal/1_4/unlabeled.txt",
            7936,
            "dc5e8c04738506348f5a037465aa196038ad7dcb86abb9c6b60197ce345a41df",
        ),  # fmt: skip
    },
    "voc-blended-1_8": {
        "labeled": _v1(
            "pascal/1_8/labeled.txt",
            1323,
            "c9ca45b4e688d408cd0856e9d17bdf99a8c9bd1de09d33023e578cdb9a49f1a3",
        ),  # fmt: skip
        "unlabeled": _v1(
            "pascal/1_8/unlabeled.txt",
            9259,
            "0ff7a0ae65046a6dc058eac0c7ed648d8aa759703c9b74c3b8ed5301b8445c8a",
        ),  # fmt: skip
    },
    "voc-blended-1_16": {
        "labeled": _v1(
            "pascal/1_16/labeled.txt",
            662,
            "baa85754594fcd33c7f06d9ef173db9f70a0c32f826a2958668ee406db9f7c5a",
        ),  # fmt: skip
        "unlabeled": _v1(
            "pascal/1_16/unlabeled.txt",
            9920,
            "c38f02fc6adc3443bbd0cb490dae009ed94c6a1915dae8cb4c3123dd573c3a35",
        ),  # fmt: skip
    },
    "voc-fine-92": {
        "labeled": _v1(
            "pascal/92/labeled.txt",
            92,
            "124b0aab2fcd1767214bf465d8fa24dd179c3abe99951a063a92d11c48663987",
        ),  # fmt: skip
        "unlabeled": _v1(
            "pascal/92/unlabeled.txt",
            10490,
            "7ea77f8ddd7b327e30f9f6e0f9e44b408759cb4353de85666ac7ee137932b6f9",
        ),  # fmt: skip
    },
    "voc-fine-183": {
        "labeled": _v1(
            "pascal/183/labeled.txt",
            183,
            "79b959bccf7753cd70bba8d5abdb7e9c0f16df053ce458916ae19a897149136d",
        ),  # fmt: skip
        "unlabeled": _v1(
            "pascal/183/unlabeled.txt",
            10399,
            "92513e42c678015ad6d5f97f28c4fff2c5060797822aabeb587f537373bd1749",
        ),  # fmt: skip
    },
    "voc-fine-366": {
        "labeled": _v1(
            "pascal/366/labeled.txt",
            366,
            "f0e702c687e2ba711cb726ace02e2bb0b5571fd73bb3e2419441cd53c196416b",
        ),  # fmt: skip
        "unlabeled": _v1(
            "pascal/366/unlabeled.txt",
            10216,
            "0bee39f227c8a753c13ce129d48d3689b605afa5be4679214df9ea506f8a3d8c",
        ),  # fmt: skip
    },
    "voc-fine-732": {
        "labeled": _v1(
            "pascal/732/labeled.txt",
            732,
            "8c23014f512884b9ef51e91113e69b7197de6e53c699019956d3874998a005b0",
        ),  # fmt: skip
        "unlabeled": _v1(
            "pascal/732/unlabeled.txt",
            9850,
            "2080ec33c9d7155dfc62a5ddc9380fb4ee676dfe6b8eae946c9177317110a64c",
        ),  # fmt: skip
    },
    "voc-fine-1464": {
        "labeled": _v1(
            "pascal/1464/labeled.txt",
            1464,
            "129f1fe991729b1862115b77738c938c149c1f167baa02b4b3186aea9f0d6a84",
        ),  # fmt: skip
        "unlabeled": _v1(
            "pascal/1464/unlabeled.txt",
            9118,
            "6d42f86cb89ef37e793748bac95003e09cf3a88ac6453cc678a0c67b45ed0aa5",
        ),  # fmt: skip
    },
    "voc-priority-1_4": {
        "labeled": _v1(
            "pascal/u2pl_1_4/labeled.txt",
            2646,
            "d35f7cd4b4815e1d83809e2acd19fe536e92319823a8a83353f20e68b2f96899",
        ),  # fmt: skip
        "unlabeled": _v1(
            "pascal/u2pl_1_4/unlabeled.txt",
            7936,
            "892d724811ae64a852cbd56ed8878bd1fd845d3fb7a73d0bf68cfcc569320059",
        ),  # fmt: skip
    },
    "voc-priority-1_8": {
        "labeled": _v1(
            "pascal/u2pl_1_8/labeled.txt",
            1323,
            "23921931a21324cfefdf4c67d4d2119d73c2c599bee9a95684ed802c2d134916",
        ),  # fmt: skip
        "unlabeled": _v1(
            "pascal/u2pl_1_8/unlabeled.txt",
            9259,
            "30096b9cd7d52f57cd15d8a2922ff6f548f76c35bcd06a1bf2792eeb05558517",
        ),  # fmt: skip
    },
    "voc-priority-1_16": {
        "labeled": _v1(
            "pascal/u2pl_1_16/labeled.txt",
            662,
            "feea4692738362e449721faff842a3aa103bf984f7d6dd748eeb511a6f722fe5",
        ),  # fmt: skip
        "unlabeled": _v1(
            "pascal/u2pl_1_16/unlabeled.txt",
            9920,
            "c3164407fe1afafee5bdf16a851ab3749d220ec575b53e113546cf9418b2e3d3",
        ),  # fmt: skip
    },
    "voc-val": {
        "labeled": _v1(
            "pascal/val.txt",
            1449,
            "6f8edc37993764f6e212237d39546fb595246244147e8a050813c520aac0ade1",
        ),  # fmt: skip
    },
}
