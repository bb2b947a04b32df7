"""Segments over HTTP on this machine: models stay loaded, scans and answers stay for a while.

run      binds a loopback port, prints the address with its token, ends clean     state    what a client finds it by
app      the routes                                                              guard    who may ask at all
scans    what was sent, or lies below a folder of the server                      kept     for how long
asking   what is asked, as a `ScanRequest`                                        waiting  a short queue, one at a time
answers  one answer: the same walk and files as `medclipsam segment`              client   the other end, without torch
page     the page in `static/`                                                     review   the review room
tools    the same as tools of the Model Context Protocol                           watch    progress of runs
"""
