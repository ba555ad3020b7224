"""What is known of programming languages: their signs, and how brackets are counted by them. Text in, facts out.

The engine ends a middle by it, and the language server judges what to show: two processes, one table.
"""
