"""Chat templates for models without one of their own, by their name in `model.chat_template`."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = "{% for message in messages %}{{ message['content'] + '\n\n' }}{% endfor %}"  # each message, followed by a blank line
GEMMA = (  # as in Gemma's instruct models; the system prompt begins the user's turn
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ '<start_of_turn>user\n' + message['content'] + '\n\n' }}{% else %}"
    "{% if not (loop.previtem is defined and loop.previtem['role'] == 'system') %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' }}{% endif %}"
    "{{ message['content'] + '<end_of_turn>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
TEMPLATES = {"chatml": CHATML, "plain": PLAIN, "gemma": GEMMA}
