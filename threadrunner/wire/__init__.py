"""JSON-RPC 2.0 as bytes: framing and messages, without a socket.

Rule: nothing here imports anything but the standard library's json and re, because the shell pays for this
package at every prompt; nothing here knows a method's name.
"""
