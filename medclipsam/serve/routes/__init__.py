"""The routes of the server, a module for what they are about.

about     /v1/health /v1/version /v1/targets /v1/docs      what this is
scans     /v1/scans  /v1/scans/ID/slices/K.png             send a scan, look at it
results   /v1/segment /v1/results/ID/FILE                  ask; masks, overlay, report
review    /v1/review/...                                   a pseudolabel folder that is looked through
watch     /v1/watch/...                                    how far runs are
"""
