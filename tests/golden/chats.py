"""Chat templates in the manner of published models', and the prompts that transformers makes of messages with them.

    python chats.py

`values/chats.json` holds the templates by name and cases: messages, the text up to the assistant's answer (null where the
template raises, with its words in `raises`), and the parts of the text that are the messages' contents, in order.
"""

import json
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

import models as base

OUT = base.VALUES / "chats.json"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

TEMPLATES = {
    # One line, as ChatML's.
    "chatml": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    # Over lines, whose white space the blocks eat.
    "lines": """{% for message in messages %}
    {% if message.role == 'user' %}
<|user|>
{{ message.content }}{{ eos_token }}
    {% elif message.role == 'system' %}
<|system|>
{{ message.content }}{{ eos_token }}
    {% else %}
<|assistant|>
{{ message.content  + eos_token }}
    {% endif %}
    {% if loop.last and add_generation_prompt %}
<|assistant|>
    {% endif %}
{% endfor %}
""",
    # Roles that must alternate, a system message within the first.
    "turns": """{%- if messages[0]['role'] == 'system' -%}
    {%- set system = '<<SYS>>\\n' + messages[0]['content'].strip() + '\\n<</SYS>>\\n\\n' -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set system = '' -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif -%}
    {%- if message['role'] == 'user' -%}
        {{ bos_token + '[INST] ' + (system if loop.index0 == 0 else '') + message['content'].strip() + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' -%}
        {{ ' ' + message['content'] | trim + ' ' + eos_token }}
    {%- endif -%}
{%- endfor -%}""",
    # No system role, other names of roles.
    "model": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
        "{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
    ),
    # Namespaces, a loop from behind, Python's methods, tools that are none.
    "thinks": """{%- if tools %}
    {{- raise_exception('no tools here') }}
{%- endif %}
{%- set ns = namespace(multi_step=true, last_query=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and message.content is string and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.last or loop.index0 > ns.last_query %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for call in message.tool_calls %}
                {{- call.arguments | tojson }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    # Names that may be missing, a default, headers.
    "headers": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    # What a model is trained on, a macro, neighbours, leaving a loop, filters.
    "macros": """{%- macro turn(role, content) -%}
[{{ role | capitalize }}] {% generation %}{{ content }}{% endgeneration %}

{%- endmacro %}
{% for message in messages if message.content %}
{%- if loop.index > 4 %}{% break %}{% endif %}
{{ turn(message['role'], message['content']) }}
{%- if loop.nextitem is defined and loop.nextitem.role != message.role %} >{% endif %}
{%- if not loop.first and loop.previtem.role == message.role %}{% continue %}{% endif %}
 .
{% endfor %}
[{{ ['Assistant', 'x'] | first | upper }}|{{ messages | map(attribute='role') | join(',') }}|{{ messages | selectattr('role', 'equalto', 'user') | list | length }}]
""",
    # Messages as JSON.
    "json": "{{ messages | tojson }}\n{{ messages[0] | tojson(indent=2) }}\n{{ bos_token | tojson }} {{ [1, 2.5, true, none] | tojson }}",
}
STRIPS = {"turns", "model", "headers"}

CONVERSATIONS = [
    [("user", "Why is the sky blue?")],
    [("system", "Be brief."), ("user", " Why? "), ("assistant", "So."), ("user", "Héy 🙂\n")],
    [("user", "user"), ("assistant", "s"), ("user", "</s> <b>'&\" \\ \\u003c")],
    [("assistant", "So."), ("user", "why")],
    [("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nyes"), ("user", "b")],
]


def main():
    cases = []
    for name, template in TEMPLATES.items():
        for conversation in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in conversation]
            case = {"template": name, "messages": messages, "text": None}
            try:
                rendered, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=True, **TOKENS)
                case["text"] = rendered[0]
                case["contents"] = contents(name, messages, rendered[0])
            except TemplateError as error:
                case["raises"] = str(error)
            cases.append(case)
    base.write_json(OUT, {"templates": TEMPLATES, "cases": cases})


def contents(name, messages, text):
    """The contents one behind another; all of the text where the template changes one or leaves one away."""
    found, at = [], 0
    if name in ("json", "macros"):
        return None
    for index, message in enumerate(messages):
        if name == "thinks" and index == 0 and message["role"] == "system":
            continue
        content = message["content"].strip() if name in STRIPS else message["content"]
        at = text.find(content, at)
        if at < 0:
            return [text]
        at += len(content)
        found.append(content)
    return found


if __name__ == "__main__":
    main()
