"""The four published systems, a folder each, and the linear model on frozen features that they are compared with.

webly: Mithun et al. 2018. web_text: Gomez et al. 2019. a3vse: Huang et al. 2019. crcgs: Zhang et al. 2022.
"""
