def load_pretrained(variables, pretrained, backbone): return variables
